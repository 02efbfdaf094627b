"""An ASGI app on a unix socket in a private folder, by Hypercorn's Trio server. Imported when it is first needed.

The server runs beside the handler, not under its cancel scope: so it can end in order when the handler is
cancelled, within GRACE + SHUTDOWN seconds. Hypercorn shields its sends without a limit; a client that doesn't read
is therefore cut off at its socket.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import LifespanTimeoutError, wrap_app

log = logging.getLogger("callboard.serve")

GRACE = 0.5  # seconds for open requests after a stop
SHUTDOWN = 1.0  # seconds for the app's own shutdown
STARTUP = 30.0  # seconds for the app's own start
_LONGEST = 100  # bytes of a socket's path; the kernel takes 107


async def serve_app(app: Callable[..., Any], nursery: trio.Nursery, announce: Callable[[str], None]) -> None:
    """Serves until cancelled; `announce` gets the socket's path, and "" at the end. Raises what the app's start raises.

    `nursery` is where the server runs.
    """
    server = Server(app)
    try:
        announce(await nursery.start(server.run))
        await server.ended.wait()
    finally:
        server.stopping.set()
        with trio.move_on_after(GRACE + SHUTDOWN + 1, shield=True):
            await server.ended.wait()
        announce("")
    if server.error is not None:
        raise server.error


class Server:
    """One app on one socket."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.stopping, self.ended = trio.Event(), trio.Event()
        self.error: BaseException | None = None  # of a server that had announced itself
        self._app: AppWrapper = wrap_app(app, 0, "asgi")
        self._config = _configuration()
        self._context = WorkerContext(None)
        self._state: LifespanState = {}
        self._streams: set[trio.SocketStream] = set()

    async def run(self, *, task_status: trio.TaskStatus[str]) -> None:
        folder = _private_folder()
        announced = False
        try:
            with _listen(os.path.join(folder, "http.sock")) as listening:
                async with trio.open_nursery() as nursery:
                    lifespan = Lifespan(self._app, self._config, self._state)
                    await nursery.start(lifespan.handle_lifespan)
                    await self._start_up(lifespan)
                    path = listening.getsockname()
                    announced = True
                    task_status.started(path)
                    await self._serve(trio.SocketListener(trio.socket.from_stdlib_socket(listening)))
                    await self._shut_down(lifespan)
                    nursery.cancel_scope.cancel()
        except Exception as error:
            if not announced:
                raise
            self.error = error  # the handler's trouble, not the executor's
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.ended.set()

    async def _serve(self, listener: trio.SocketListener) -> None:
        async with trio.open_nursery() as connections:
            with trio.CancelScope() as accepting:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._cancel_when_stopping, accepting)
                    await trio.serve_listeners(self._connection, [listener], handler_nursery=connections)
            await self._context.terminated.set()
            with trio.move_on_after(GRACE):
                while self._streams:  # noqa: ASYNC110 (at most GRACE)
                    await trio.sleep(0.01)
            for stream in self._streams:
                _cut(stream)
            connections.cancel_scope.cancel()

    async def _cancel_when_stopping(self, scope: trio.CancelScope) -> None:
        await self.stopping.wait()
        scope.cancel()

    async def _connection(self, stream: trio.SocketStream) -> None:
        self._streams.add(stream)
        try:
            state = ConnectionState(self._state.copy())
            await TCPServer(self._app, self._config, self._context, state, stream)  # type: ignore[arg-type]
        except Exception:
            log.exception("a connection to a task's own server failed")
        finally:
            self._streams.discard(stream)

    async def _start_up(self, lifespan: Lifespan) -> None:
        try:
            await lifespan.wait_for_startup()
        except trio.ClosedResourceError:
            lifespan.supported = False  # the app returned at once: it takes no part in it

    async def _shut_down(self, lifespan: Lifespan) -> None:
        try:
            await lifespan.wait_for_shutdown()
        except trio.ClosedResourceError:
            pass  # the app left before it was asked to
        except LifespanTimeoutError:
            log.warning("the app that a task serves did not shut down within %g s", SHUTDOWN)


def _configuration() -> Config:
    config = Config()
    config.errorlog = log
    config.accesslog = None
    config.startup_timeout, config.shutdown_timeout = STARTUP, SHUTDOWN
    config.include_server_header = False
    return config


def _private_folder() -> str:
    """Mode 0700, as mkdtemp makes it, where a socket's path is short enough."""
    folder = tempfile.mkdtemp(prefix="callboard-")
    if len(os.fsencode(folder)) + 10 <= _LONGEST:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="callboard-", dir="/tmp")


def _listen(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    made.bind(path)
    made.listen(100)
    return made


def _cut(stream: trio.SocketStream) -> None:
    try:
        stream.socket.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was faster
