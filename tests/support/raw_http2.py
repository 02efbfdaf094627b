"""HTTP/2 in bytes, for what no gRPC library would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, StreamEnded, TrailersReceived

from actors.model import link as model
from actors.model.lease import TEST
from tests.support.links import Hub, beat, expect, sign_in
from transport.client import dial
from transport.server import open_grpc_server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/callboard.v1.WorkerLink/Connect"),
    (":authority", "x"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


SETTINGS = frame(4)


class Raw:
    """An HTTP/2 connection that can also say what it must not."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()

    async def flush(self) -> None:
        await self.stream.send_all(self.http.data_to_send())

    async def until(self, *kinds: type[Event]) -> Event | None:
        """The first event of these kinds; None when the server closes first."""
        with trio.fail_after(3):
            while True:
                try:
                    data = await self.stream.receive_some()
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                for event in self.http.receive_data(data):
                    if isinstance(event, kinds):
                        return event
                await self.flush()


@asynccontextmanager
async def beside_a_link() -> AsyncIterator[Callable[[], Awaitable[Raw]]]:
    """A server with a link that must still answer when all is over."""
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port:
        async with dial(f"http://127.0.0.1:{port}", TEST) as end:
            await sign_in(end)
            opened: list[trio.SocketStream] = []

            async def connect() -> Raw:
                plug = trio.socket.socket()
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
                await plug.connect(("127.0.0.1", port))
                opened.append(trio.SocketStream(plug))
                return Raw(opened[-1])

            yield connect
            for stream in opened:
                await trio.aclose_forcefully(stream)
            await end.outgoing.send(beat(1))
            await expect(end.incoming, model.HeartbeatReply)


async def closed(raw: Raw) -> None:
    assert await raw.until(StreamEnded) is None


async def grpc_status(raw: Raw) -> str:
    event = await raw.until(TrailersReceived)
    assert isinstance(event, TrailersReceived)
    return next(str(value) for name, value in event.headers or () if str(name) == "grpc-status")


def message(data: bytes, *, length: int | None = None, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(data) if length is None else length) + data
