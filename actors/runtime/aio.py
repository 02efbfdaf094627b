"""The one asyncio loop of a process: opened first, closed last."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio_asyncio

log = logging.getLogger(__name__)

SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # asyncio pauses, and accepts again
SAY_EVERY = 10.0  # seconds between two lines about that


@asynccontextmanager
async def open_loop() -> AsyncIterator[None]:
    """Runs an asyncio loop under Trio for grpclib and asyncpg.

    An error in a callback of one connection ends that connection only, and a server that can accept nobody for want
    of descriptors tries again. Any other stray error is raised out of this block: a program that lost a task must not
    go on as if it had not.
    """
    stray: list[BaseException] = []
    said_at = -SAY_EVERY
    async with trio.open_nursery() as nursery:

        def handle(_: object, context: dict[str, Any]) -> None:
            error = context.get("exception") or RuntimeError(context.get("message", "asyncio error"))
            if "transport" in context or "protocol" in context:
                log.warning("a connection was dropped: %s: %s", context.get("message"), error)
                transport = context.get("transport")
                if transport is not None:
                    transport.abort()
                return
            if isinstance(error, OSError) and error.errno in SCARCE:
                nonlocal said_at
                if trio.current_time() - said_at >= SAY_EVERY:
                    said_at = trio.current_time()
                    log.error("no connection can be accepted at present: %s", error)
                return
            log.error("stray asyncio error: %s", context.get("message"), exc_info=error)
            stray.append(error)
            nursery.cancel_scope.cancel("stray asyncio error")

        async with trio_asyncio.open_loop() as loop:
            loop.set_exception_handler(handle)
            yield
        nursery.cancel_scope.cancel("the loop has ended")
    if stray:
        raise stray[0]
