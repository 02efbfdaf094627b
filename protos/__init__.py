"""The published contract, and the code generated from it."""

# Generated server code imports grpclib; see transport/__init__.py for why this comes first.
import trio_asyncio as trio_asyncio
