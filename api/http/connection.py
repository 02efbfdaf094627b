"""One HTTP/1.1 connection: Hypercorn's protocol over a Trio stream, with limits on everything.

Only HTTP/1.1 and 1.0 are spoken: an offer to go on with HTTP/2 is not taken up. A response is never cut
by a cancel in the middle of a piece, but a reader that takes nothing for WRITE_LIMIT loses its connection.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, ConnectionState, Scope
from hypercorn.utils import parse_socket_addr

from actors.runtime.supervisor import describe
from api.http.asgi import CutOff
from api.http.heads import refusal, refused

log = logging.getLogger(__name__)

RECEIVE = 65_536  # bytes of one read
PIECE = 65_536  # bytes that must be taken within WRITE_LIMIT
WRITE_LIMIT = 30.0  # seconds
IDLE_LIMIT = 10.0  # seconds from the first byte, or the last answer, to the end of the next headers
LINGER = 1.0  # seconds in which a client may still send what was refused, so that it reads why
FAREWELL = 1.0  # seconds for an application to notice that its client has gone


class Http1(H11Protocol):
    """Refuses what h11 lets through: other versions, ambiguous lengths, too many headers."""

    _bodiless = False

    async def _create_stream(self, request: h11.Request) -> None:
        self._bodiless = request.method == b"HEAD"
        status = refused(request)
        if status is None:
            await super()._create_stream(request)
        else:
            await self._send_error_response(status)
            await self.send(Closed())

    async def _send_error_response(self, status_code: int) -> None:
        for event in refusal(status_code, bodiless=self._bodiless):
            await self._send_h11_event(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """An Upgrade to h2c is ignored, as RFC 9110 allows."""


class Applications:
    """Runs the application for each request of one connection; what it no longer reads is dropped."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery, self._helpers = nursery, trio.CancelScope()

    def spawn(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """For the protocol's own helpers, such as pings."""
        self._nursery.start_soon(self._help, function, *args)

    async def _help(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        # One helper a connection at most: it becomes a WebSocket once.
        with self._helpers:
            await function(*args)

    def end_helpers(self) -> None:
        self._helpers.cancel("the connection has ended")

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        outbox, inbox = trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size)
        gone: dict[str, Any] = {"type": f"{scope['type']}.disconnect", "code": 1006}

        async def receive() -> ASGIReceiveEvent:
            try:
                return await inbox.receive()
            except trio.EndOfChannel:
                await trio.lowlevel.checkpoint()
                return gone  # type: ignore[return-value]

        async def put(event: ASGIReceiveEvent) -> None:
            try:
                if event["type"].endswith(".disconnect"):
                    gone.update(event)
                    outbox.close()
                else:
                    await outbox.send(event)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the application has answered and reads no more

        self._nursery.start_soon(_run, app, scope, inbox, receive, send)
        return put

    async def __aenter__(self) -> Applications:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


async def _run(
    app: AppWrapper,
    scope: Scope,
    inbox: trio.MemoryReceiveChannel[ASGIReceiveEvent],
    receive: Any,
    send: Callable[[ASGISendEvent | None], Awaitable[None]],
) -> None:
    with inbox:
        try:
            await app(scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run)
        except* CutOff as errors:
            log.info("an answer was cut off: %s", describe(errors))
        except* Exception as errors:
            log.error("a request failed outside of the application: %s", describe(errors), exc_info=errors)
    await send(None)  # an answer, if there was none


class Connection:
    """Serves one stream until either side ends it."""

    def __init__(self, app: AppWrapper, config: Config, context: WorkerContext, stream: trio.SocketStream) -> None:
        self._app, self._config, self._context, self._stream = app, config, context, stream
        self._sending = trio.Lock()
        self._reading = trio.CancelScope()
        self._idle, self._closing = True, False

    async def run(self) -> None:
        """Returns when the connection is closed; raises nothing of the client's making."""
        try:
            client = parse_socket_addr(self._stream.socket.family, self._stream.socket.getpeername())
            server = parse_socket_addr(self._stream.socket.family, self._stream.socket.getsockname())
        except OSError:  # gone already
            trio.lowlevel.notify_closing(self._stream.socket)
            self._stream.socket.close()
            return
        try:
            async with trio.open_nursery() as nursery:
                applications = Applications(nursery)
                protocol = self._protocol = Http1(
                    self._app, self._config, self._context, applications,
                    ConnectionState({}), False, client, server, self._send,
                )  # fmt: skip
                await protocol.initiate()
                await self._read(protocol)
                applications.end_helpers()
                with trio.move_on_after(FAREWELL) as scope:
                    await protocol.handle(Closed())
                if scope.cancelled_caught:
                    nursery.cancel_scope.cancel("the application did not notice that its client has gone")
        finally:
            self.abort()

    def finish(self) -> None:
        """No further request: closes at once when idle, after the present answer otherwise."""
        if self._idle:
            self._reading.cancel("the server stops")

    def abort(self) -> None:
        """Drops the connection with whatever was not sent; wakes everything that waits for it."""
        if self._stream.socket.fileno() != -1:
            if not self._closing:
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._stream.socket.close()

    async def _read(self, protocol: Http1) -> None:
        with self._reading:
            self._reading.deadline = trio.current_time() + IDLE_LIMIT
            while True:
                try:
                    data = await self._stream.receive_some(RECEIVE)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                if not self._closing:
                    await protocol.handle(RawData(bytes(data)))
                if not data:
                    return

    async def _send(self, event: Event) -> None:
        match event:
            case RawData():
                async with self._sending:
                    sent = not self._closing and await self._send_pieces(event.data)
                if not sent:
                    await self._protocol.handle(Closed())
            case Updated():
                self._idle = event.idle
                self._reading.deadline = trio.current_time() + IDLE_LIMIT if event.idle else float("inf")
            case Closed():
                await self._close()

    async def _send_pieces(self, data: bytes) -> bool:
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            with trio.move_on_after(WRITE_LIMIT, shield=True) as scope:
                try:
                    await self._stream.send_all(view[start : start + PIECE])
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    return False
            if scope.cancelled_caught:
                self.abort()
                return False
        return True

    async def _close(self) -> None:
        """Says that nothing more comes, then takes and drops what the client still sends, for a moment."""
        if not self._closing:
            self._closing = True
            with trio.move_on_after(LINGER, shield=True):
                try:
                    await self._stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    pass
            self._reading.deadline = trio.current_time() + LINGER
        await self._protocol.handle(Closed())
