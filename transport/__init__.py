"""gRPC between processes, on grpclib over trio-asyncio."""

# First of all: grpclib binds asyncio.current_task when it is imported, and on Python 3.12 and later
# trio-asyncio must have put its own in place by then, or every call dies with "no running event loop".
import trio_asyncio as trio_asyncio
