"""Serves an ASGI application over HTTP/1.1, and ends on time whatever its clients do."""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

from actors.model.errors import ConfigurationError
from actors.runtime.supervisor import describe
from api.http.connection import WRITE_LIMIT, Connection
from api.http.heads import HEADER_BYTES

log = logging.getLogger(__name__)

GRACE = 1.0  # seconds that open requests get when the server is asked to end, unless somebody grants more
LIFESPAN_LIMIT = 0.3  # seconds that the application's own tasks get after that
CONNECTIONS = 1_000  # a further one is closed at once
BACKLOG = 512
MESSAGE_BYTES = 1_048_576  # one WebSocket message


class Grace:
    """What open requests get at the end; whoever insists meanwhile leaves them GRACE."""

    def __init__(self, seconds: float = GRACE) -> None:
        self.seconds = seconds
        self._scope = trio.CancelScope()

    def hurry(self) -> None:
        self.seconds = min(self.seconds, GRACE)
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + self.seconds)

    async def wait(self, empty: trio.Event) -> None:
        self._scope = trio.CancelScope(deadline=trio.current_time() + self.seconds)
        with self._scope:
            await empty.wait()


async def serve_http(
    app: Any,
    *,
    host: str,
    port: int,
    name: str,
    grace: Grace | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; `started` with the port that was bound.

    After the cancel it takes at most the grace and LIFESPAN_LIMIT seconds. Raises ConfigurationError when the
    address can't be bound; the message says what to do.
    """
    listener = open_listener(host, port, name)
    server = _Server(app, grace or Grace())
    async with trio.open_nursery() as nursery:
        try:
            # The shield lies in a task of its own, so that a cancel reaches the accepting at once.
            connections = await nursery.start(server.hold)
            task_status.started(listener.socket.getsockname()[1])
            await trio.serve_listeners(server.serve, [listener], handler_nursery=connections)
        finally:
            listener.socket.close()
            server.stopping.set()


class _Server:
    """The connections of one server, and its application's own tasks."""

    def __init__(self, app: Any, grace: Grace) -> None:
        self.stopping, self._grace = trio.Event(), grace
        self._empty = trio.Event()  # set once stopping and no connection is left
        self._app, self._config, self._context = wrap_app(app, 0, "asgi"), _config(), WorkerContext(None)
        self._connections: set[Connection] = set()

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = Connection(self._app, self._config, self._context, stream)
        if len(self._connections) >= CONNECTIONS:
            connection.abort()
            return
        self._connections.add(connection)
        try:
            await connection.run()
        except* Exception as errors:
            log.error("a connection was dropped: %s", describe(errors), exc_info=errors)
        finally:
            self._connections.discard(connection)
            if self.stopping.is_set() and not self._connections:
                self._empty.set()

    async def hold(self, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Keeps connections through the caller's cancel, for the grace."""
        lifespan = Lifespan(self._app, self._config, {})
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            nursery.cancel_scope.shield = True
            await self._hold_connections(task_status)
            with trio.move_on_after(LIFESPAN_LIMIT):
                await lifespan.wait_for_shutdown()
            nursery.cancel_scope.cancel("the server has ended")

    async def _hold_connections(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await self.stopping.wait()
            await self._context.terminated.set()  # answers from now on close their connection
            for connection in tuple(self._connections):
                connection.finish()
            if self._connections:
                await self._grace.wait(self._empty)
            for connection in tuple(self._connections):
                connection.abort()
            nursery.cancel_scope.cancel("the grace is over")


def open_listener(host: str, port: int, name: str) -> trio.SocketListener:
    """A bound, listening socket. TCP_USER_TIMEOUT is inherited by every connection that it accepts."""
    where = f"http server of the {name}: host {host!r}, port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigurationError([f"{where}: no such address ({error}): set --host or CALLBOARD_HOST"]) from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(WRITE_LIMIT * 1000))
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigurationError([f"{where}: {_advice(error)}"]) from None
    listening.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program uses this port: stop it, or choose another with --http-port or CALLBOARD_HTTP_PORT"
        case errno.EACCES | errno.EPERM:
            return "not allowed: ports below 1024 need a privilege; choose another with --http-port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address: set --host or CALLBOARD_HOST to 127.0.0.1, or to one that it has"
        case _:
            return f"can't listen: {error.strerror or error}"


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = log
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADER_BYTES
    config.websocket_max_message_size = MESSAGE_BYTES
    config.websocket_ping_interval = 20.0
    config.startup_timeout = 5
    config.max_app_queue_size = 10  # messages of at most 64 KiB that an application has not read yet
    return config
