"""One connection to a node's gRPC server."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import trio
from grpclib.client import Channel, Handler
from grpclib.const import Cardinality
from grpclib.protocol import H2Protocol
from trio_asyncio import aio_as_trio

from actors.model.errors import ConfigurationError, LinkLost
from transport.limits import CONFIG, Protocol
from transport.status import from_grpc
from transport.wire import Codec

Answer = TypeVar("Answer")

DEFAULT_PORT = 8081


def parse_address(address: str) -> tuple[str, int]:
    """(host, port) of http://host:port; raises ConfigurationError."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = None, None, None
    if parts is None or parts.scheme != "http" or not host or port == 0 or parts.path not in ("", "/") or parts.query:
        raise ConfigurationError([f"a gRPC address must look like http://host:{DEFAULT_PORT}, got {address!r}"])
    return host, port or DEFAULT_PORT


class _Channel(Channel):
    """A channel over one socket: it never connects again by itself."""

    def __init__(self, sock: socket.socket, host: str, port: int) -> None:
        super().__init__(host, port, codec=Codec(), config=CONFIG)
        self._sock: socket.socket | None = sock

    def _protocol_factory(self) -> H2Protocol:
        return Protocol(Handler(), self._config, self._h2_config)

    async def _create_connection(self) -> H2Protocol:
        sock, self._sock = self._sock, None
        if sock is None:
            raise ConnectionResetError("the connection has ended")
        _, protocol = await self._loop.create_connection(self._protocol_factory, sock=sock)
        return protocol

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        super().close()


@asynccontextmanager
async def open_channel(address: str, limit: float) -> AsyncIterator[Channel]:
    """Connects within `limit` seconds and closes in the end; raises LinkLost. Must be inside `open_loop`."""
    host, port = parse_address(address)
    channel: Channel | None = None
    with trio.move_on_after(limit):
        try:
            # Trio connects: it tries all addresses of a name, and a name that is slow to resolve can be left.
            stream = await trio.open_tcp_stream(host, port)
        except OSError as error:
            raise LinkLost(f"{address} can't be reached: {_reason(error)}") from error
        sock = socket.socket(fileno=stream.socket.detach())
        channel = await aio_as_trio(_open)(sock, host, port)
    if channel is None:
        raise LinkLost(f"{address} can't be reached within {limit:g} s")
    try:
        yield channel
    finally:
        channel.close()


async def _open(sock: socket.socket, host: str, port: int) -> Channel:
    """asyncio-flavoured: grpclib takes the loop of whoever builds it."""
    return _Channel(sock, host, port)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause = error.__cause__
    if isinstance(error, OSError) and not error.errno and cause is not None:  # "all attempts failed"
        return _reason(cause)
    return str(error)


async def ask(
    channel: Channel, where: str, method: str, message: Any, answer: type[Answer], *, token: str | None, limit: float
) -> Answer:
    """Trio-flavoured. One call, one answer; raises what the status means, or LinkLost."""
    found = await _call(channel, where, method, Cardinality.UNARY_UNARY, message, answer, token, limit)
    if not found:
        raise LinkLost(f"{where} gave no answer")
    return found[0]


async def ask_all(
    channel: Channel, where: str, method: str, message: Any, answer: type[Answer], *, token: str | None, limit: float
) -> list[Answer]:
    """Trio-flavoured. One call, all its answers; raises as `ask`."""
    return await _call(channel, where, method, Cardinality.UNARY_STREAM, message, answer, token, limit)


async def _call(
    channel: Channel,
    where: str,
    method: str,
    shape: Cardinality,
    message: Any,
    answer: type[Answer],
    token: str | None,
    limit: float,
) -> list[Answer]:
    metadata = {"authorization": f"Bearer {token}"} if token else None

    async def call() -> list[Answer]:
        async with channel.request(
            f"/callboard.v1.{method}", shape, type(message), answer, timeout=limit, metadata=metadata
        ) as stream:
            await stream.send_message(message, end=True)
            return [one async for one in stream]

    try:
        return cast(list[Answer], await aio_as_trio(call)())
    except Exception as error:
        raise from_grpc(error, where) from error
