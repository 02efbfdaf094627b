"""A socket between the driver and PostgreSQL that can lose an answer: the server has committed, nobody was told."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes everything on. Once `cut_at` was seen on its way to the server, the server's answer to it is lost."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.folder, self._server = folder, server
        self.cut_at: bytes | None = None  # once
        self.cuts = 0

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_unix_socket(str(self._server / SOCKET))
        cutting = trio.Event()
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._answers, server, client, cutting, nursery.cancel_scope)
            try:
                async for data in client:
                    if self.cut_at is not None and self.cut_at in data:
                        self.cut_at = None
                        cutting.set()
                    await server.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the driver hung up: that is its right
            nursery.cancel_scope.cancel()

    async def _answers(
        self, server: trio.SocketStream, client: trio.SocketStream, cutting: trio.Event, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in server:
                if cutting.is_set():
                    self.cuts += 1
                    break
                await client.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the driver hung up
        scope.cancel()


@asynccontextmanager
async def open_proxy(server: Path) -> AsyncIterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="cb-proxy-") as name:
        proxy = Proxy(server, Path(name))
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(str(proxy.folder / SOCKET))
        listener.listen(50)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, proxy.serve, [trio.SocketListener(listener)])
            yield proxy
            nursery.cancel_scope.cancel()
