"""A socket between the driver and PostgreSQL that can lose an answer: the server has committed, nobody was told."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes everything on, until `cut_at` is seen on its way to the server: then the client is dropped."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.folder, self._server = folder, server
        self.cut_at: bytes | None = None  # once: the statement itself still reaches the server
        self.cuts = 0

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_unix_socket(str(self._server / SOCKET))
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._answers, server, client, nursery.cancel_scope)
            try:
                async for data in client:
                    await server.send_all(data)
                    if self.cut_at is not None and self.cut_at in data:
                        self.cut_at, self.cuts = None, self.cuts + 1
                        await trio.aclose_forcefully(client)
                        await trio.sleep(0.2)  # time for the server to do it
                        break
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the driver hung up: that is its right
            nursery.cancel_scope.cancel()

    async def _answers(self, server: trio.SocketStream, client: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in server:
                await client.send_all(data)
            scope.cancel()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client was dropped: the answer is lost, which is what this is for


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
