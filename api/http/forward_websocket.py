"""Passes one WebSocket on to another server, messages both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from api.http.asgi import Receive, Scope, Send
from api.http.forward import Headers, passed_on
from api.http.problems import Problem

PIECE = 65_536  # bytes of one read
MESSAGE_BYTES = 1_048_576  # of one message
REJECTION_BYTES = 65_536  # of a refusal's body
HANDSHAKE_LIMIT = 10.0  # seconds
GOODBYE_LIMIT = 2.0  # seconds
TOO_BIG, GOING_AWAY = 1009, 1001


async def forward_websocket(
    scope: Scope, receive: Receive, send: Send, stream: trio.abc.Stream, target: bytes, host: str, headers: Headers
) -> None:
    """Returns when either side has closed. Raises Problem 502 or 504 before the handshake is done."""
    await receive()  # websocket.connect
    far = _Far(stream)
    with trio.move_on_after(HANDSHAKE_LIMIT) as limit:
        accepted = await far.shake_hands(target.decode("ascii"), host, headers, list(scope.get("subprotocols", ())))
    if limit.cancelled_caught:
        raise Problem(status=504, code="no_answer", detail="the task's server did not answer in time")
    if isinstance(accepted, _Rejected):
        await _reject(scope, send, accepted)
        return
    await send({"type": "websocket.accept", "subprotocol": accepted.subprotocol, "headers": []})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_outward, receive, far, nursery.cancel_scope)
        await _inward(far, send)
        nursery.cancel_scope.cancel("closed")


async def _outward(receive: Receive, far: _Far, scope: trio.CancelScope) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            with trio.move_on_after(GOODBYE_LIMIT, shield=True):
                await far.send(CloseConnection(code=_sendable(message.get("code"))))
            scope.cancel("the client has gone")
            return
        if message.get("bytes") is not None:
            await far.send(BytesMessage(data=message["bytes"]))
        else:
            await far.send(TextMessage(data=message["text"]))


async def _inward(far: _Far, send: Send) -> None:
    parts: list[Any] = []
    size = 0
    while True:
        event = await far.next()
        match event:
            case TextMessage() | BytesMessage():
                parts.append(event.data)
                size += len(event.data)
                if size > MESSAGE_BYTES:
                    await far.send(CloseConnection(code=TOO_BIG))
                    await send({"type": "websocket.close", "code": TOO_BIG, "reason": "a message was too big"})
                    return
                if event.message_finished:
                    await send(_message(event, parts))
                    parts, size = [], 0
            case Ping():
                await far.send(event.response())
            case CloseConnection():
                await far.send(event.response())
                await send({"type": "websocket.close", "code": _sendable(event.code), "reason": event.reason or ""})
                return
            case None:
                await send({"type": "websocket.close", "code": GOING_AWAY, "reason": "the task's server has ended"})
                return


def _message(event: Message[Any], parts: list[Any]) -> dict[str, Any]:
    if isinstance(event, TextMessage):
        return {"type": "websocket.send", "text": "".join(parts), "bytes": None}
    return {"type": "websocket.send", "text": None, "bytes": b"".join(bytes(part) for part in parts)}


def _sendable(code: int | None) -> int:
    """1005, 1006 and 1015 say that there was no close frame; they may not be in one."""
    return code if code is not None and code not in (1005, 1006, 1015) else 1000


class _Rejected:
    def __init__(self, status: int, headers: Headers) -> None:
        self.status, self.headers, self.body = status, headers, b""


async def _reject(scope: Scope, send: Send, rejected: _Rejected) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(name, value) for name, value in passed_on(rejected.headers) if name != b"content-length"]
    headers.append((b"content-length", str(len(rejected.body)).encode()))
    await send({"type": "websocket.http.response.start", "status": rejected.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": rejected.body, "more_body": False})


class _Far:
    """wsproto's client over a stream; two tasks use it, so whole events are sent under a lock."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream, self._sending = stream, trio.Lock()
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._events: Iterator[Event] = iter(())

    async def shake_hands(
        self, target: str, host: str, headers: Headers, subprotocols: list[str]
    ) -> AcceptConnection | _Rejected:
        request = Request(host=host, target=target, extra_headers=headers, subprotocols=subprotocols)
        await self.send(request)
        rejected: _Rejected | None = None
        while True:
            event = await self.next()
            match event:
                case AcceptConnection():
                    return event
                case RejectConnection():
                    rejected = _Rejected(event.status_code, list(event.headers))
                    if not event.has_body:
                        return rejected
                case RejectData() if rejected is not None:
                    rejected.body = (rejected.body + bytes(event.data))[:REJECTION_BYTES]
                    if event.body_finished:
                        return rejected
                case _ if rejected is not None:
                    return rejected
                case _:
                    raise Problem(status=502, code="bad_gateway", detail="the task's server speaks no WebSocket there")

    async def send(self, event: Event) -> None:
        """What can't be delivered is dropped: the reading side notices the end."""
        async with self._sending:
            try:
                await self._stream.send_all(self._connection.send(event))
            except (LocalProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def next(self) -> Event | None:
        """The next event, None at the end of the stream."""
        while True:
            for event in self._events:
                return event
            try:
                data = await self._stream.receive_some(PIECE)
                if not data:
                    return None
                self._connection.receive_data(bytes(data))
                self._events = self._connection.events()
            except (RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
                return None
