"""How a Trio-flavoured function becomes a method of a gRPC service."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from grpclib.const import Cardinality, Handler
from grpclib.server import Stream
from trio_asyncio import trio_as_aio

from actors.model.errors import AccessDenied
from transport.columns import CodecError
from transport.status import to_grpc

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Service:
    """What grpclib serves: full method name → handler."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._methods: dict[str, Handler] = {}

    def add(self, method: str, handler: Handler) -> None:
        self._methods[f"/callboard.v1.{self.name}/{method}"] = handler

    def __mapping__(self) -> dict[str, Handler]:
        return self._methods


def check_token(stream: Stream[Any, Any], token: str | None) -> None:
    """Raises AccessDenied."""
    if not token:
        return
    given = str(stream.metadata.get("authorization", "")) if stream.metadata is not None else ""
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise AccessDenied("metadata `authorization: Bearer CALLBOARD_TOKEN` is missing or wrong")


def unary(
    serve: Callable[[Request], Awaitable[Answer]],
    request: type[Request],
    answer: type[Answer],
    token: str | None = None,
    sent: Callable[[Request], None] | None = None,
) -> Handler:
    """One question, one answer. `serve` is Trio-flavoured and is cancelled when the caller leaves.

    `sent` is told, on asyncio's side, when the answer has been written.
    """

    async def call(stream: Stream[Request, Answer]) -> None:
        try:
            check_token(stream, token)
            message = await stream.recv_message()
            if message is None:
                raise CodecError("the call carries no message")
            await stream.send_message(await trio_as_aio(serve)(message))
            if sent is not None:
                sent(message)
        except Exception as error:
            raise to_grpc(error) from None

    return Handler(call, Cardinality.UNARY_UNARY, request, answer)


def answers(
    serve: Callable[[Request], Awaitable[Sequence[Answer]]],
    request: type[Request],
    answer: type[Answer],
    token: str | None = None,
) -> Handler:
    """One question, a list of answers, sent one a message."""

    async def call(stream: Stream[Request, Answer]) -> None:
        try:
            check_token(stream, token)
            message = await stream.recv_message()
            if message is None:
                raise CodecError("the call carries no message")
            for one in await trio_as_aio(serve)(message):
                await stream.send_message(one)
        except Exception as error:
            raise to_grpc(error) from None

    return Handler(call, Cardinality.UNARY_STREAM, request, answer)
