"""Real HTTP servers on port 0, and raw clients that behave badly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from api.http.serve import serve_http


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """The port; the server is cancelled at the end."""
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(partial(serve_http, app, host="127.0.0.1", port=0, name="test"))
        try:
            yield port
        finally:
            nursery.cancel_scope.cancel("the test is over")


async def lifespan(receive: Any, send: Any) -> None:
    """What an application says while its server starts and stops."""
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})


async def exchange(port: int, sent: bytes, *, limit: float = 5.0) -> bytes:
    """Sends bytes, and reads until the server closes."""
    received = b""
    with trio.fail_after(limit):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(sent)
            try:
                async for data in stream:
                    received += bytes(data)
            except trio.BrokenResourceError:
                pass
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])
