"""What one HTTP/2 connection may cost, and that its trouble stays its own.

grpclib takes any amount of data for a message, knows no limit for resets or silence, and gives up the process
for frames that HTTP/2 tells it to ignore. The limit of 100 streams is announced and held by h2.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import BaseTransport
from collections import deque
from typing import Any, cast

import trio
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from grpclib.utils import Wrapper
from h2.config import H2Configuration
from h2.events import Event, RemoteSettingsChanged, StreamReset

from transport.wire import MAX_MESSAGE

log = logging.getLogger(__name__)

# A stream's window is below its connection's, so that a link that does not read leaves room for the calls beside
# it. Heartbeats of our own find dead peers; HTTP/2's pings are off.
CONFIG = Configuration(
    _keepalive_time=cast(float, None),
    http2_connection_window_size=4 * 1024 * 1024,
    http2_stream_window_size=1024 * 1024,
)
HANDSHAKE_LIMIT = 10.0  # seconds from the connection to the peer's first SETTINGS
FRAME_HEADER = 9  # bytes
MAX_RESETS, RESETS_PERIOD = 200, 60.0  # streams that a peer may reset or have reset, in seconds
MAX_UNSENT = 2 * 1024 * 1024  # bytes of answers that wait for a peer that does not read


class _Stream(Stream):
    async def recv_data(self, size: int) -> bytes:
        """Refuses a message by its announced length, before any of it is kept."""
        if size > MAX_MESSAGE:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes is too large: the limit is {MAX_MESSAGE}"
            )
        return await super().recv_data(size)


class _Connection(Connection):
    def create_stream(self, *, stream_id: int | None = None, wrapper: Wrapper | None = None) -> Stream:
        return _Stream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)


class _Processor(EventsProcessor):
    def __init__(self, handler: AbstractHandler, connection: Connection, protocol: Protocol) -> None:
        super().__init__(handler, connection)
        self._protocol = protocol
        self._resets: deque[float] = deque(maxlen=MAX_RESETS)

    def process(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            self._protocol.shook_hands()
        elif isinstance(event, StreamReset) and self._too_many_resets():  # by the peer, or for what it did
            self._protocol.drop(f"{MAX_RESETS} streams were reset within {RESETS_PERIOD:g} s")
            return
        # HTTP/2 says of frames and events of unknown kinds: ignore them.
        if type(event) in getattr(self, "processors", ()):
            super().process(event)

    def _too_many_resets(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._resets.append(now)
        return len(self._resets) == MAX_RESETS and now - self._resets[0] < RESETS_PERIOD


class Connections:
    """Those of one server that are open."""

    def __init__(self) -> None:
        self.open: set[Protocol] = set()
        self._emptied = trio.Event()

    def add(self, one: Protocol) -> None:
        self.open.add(one)

    def discard(self, one: Protocol) -> None:
        self.open.discard(one)
        if not self.open:
            self._emptied.set()

    async def wait_closed(self) -> None:
        """Trio-flavoured. Waits until none is left."""
        while self.open:
            self._emptied = trio.Event()
            await self._emptied.wait()


class Protocol(H2Protocol):
    """asyncio-flavoured. One connection, at either end."""

    def __init__(
        self,
        handler: AbstractHandler,
        config: Configuration,
        h2_config: H2Configuration,
        connections: Connections | None = None,
    ) -> None:
        super().__init__(handler, config, h2_config)
        self._connections = connections if connections is not None else Connections()
        self._handshake: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._transport = cast(asyncio.Transport, transport)
        self.connection = _Connection(self.connection._connection, self._transport, config=self.config)
        self.processor = _Processor(self.handler, self.connection, self)
        self._connections.add(self)
        self._handshake = asyncio.get_running_loop().call_later(
            HANDSHAKE_LIMIT, self.drop, f"no HTTP/2 handshake within {HANDSHAKE_LIMIT:g} s"
        )

    def shook_hands(self) -> None:
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception as error:  # whatever a peer's bytes lead to is that peer's end, and nobody else's
            self.drop(f"{type(error).__name__}: {error}")
            return
        if self._overlong():
            self.drop("a frame is longer than HTTP/2 allows, or it speaks something else")
        elif self._transport is not None and self._transport.get_write_buffer_size() > MAX_UNSENT:
            self.drop("it does not read what it asks for")

    def _overlong(self) -> bool:
        """h2 looks at a frame's length when all of the frame is there; nobody else's megabytes are kept until then."""
        http = self.connection._connection
        begun = http.incoming_buffer._data
        return len(begun) >= FRAME_HEADER and int.from_bytes(begun[:3], "big") > http.max_inbound_frame_size

    def connection_lost(self, exc: BaseException | None) -> None:
        self.shook_hands()
        self._connections.discard(self)
        super().connection_lost(exc)

    def drop(self, why: str) -> None:
        """Ends the connection at once."""
        peer: Any = self._transport.get_extra_info("peername") if self._transport is not None else None
        log.warning("the connection from %s is dropped: %s", peer, why)
        self.processor.close(why)
        self.abort()

    def say_goodbye(self) -> None:
        """Tells the peer that nothing more will be served here, and closes when that is sent."""
        if self._transport is None or self._transport.is_closing():
            return
        self.connection._connection.close_connection()
        self.connection.flush()
        self.processor.close("the server is stopping")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
