"""Passes one HTTP request on to another HTTP/1.1 server, and its answer back, piece by piece both ways.

Nothing is collected: at most one piece of 64 KiB is held in each direction, and each side's pace is the other's.
"""

from __future__ import annotations

from collections.abc import Iterable

import h11
import trio

from api.http.asgi import CutOff, Receive, Scope, Send
from api.http.problems import Problem

PIECE = 65_536  # bytes
HEAD_BYTES = 65_536  # of the answer's headers
HEAD_LIMIT = 300.0  # seconds until the answer begins
PIECE_LIMIT = 3_600.0  # seconds between two pieces of the answer: a stream of events may be silent for long

# Of one connection only (RFC 9110, 7.6.1).
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade"}
)  # fmt: skip
# The caller's credentials, and what each server of the chain says for itself.
PRIVATE = frozenset(
    {b"authorization", b"cookie", b"set-cookie", b"x-callboard-route", b"host", b"expect", b"x-request-id", b"date",
     b"server"}
)  # fmt: skip

Headers = list[tuple[bytes, bytes]]


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers that may travel on, in either direction; those that Connection names stay behind."""
    listed = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    named = {
        token.strip().lower() for name, value in listed if name == b"connection" for token in value.split(b",")
    }  # fmt: skip
    return [
        (name, value) for name, value in listed if name not in HOP_BY_HOP and name not in PRIVATE and name not in named
    ]


async def forward_http(
    scope: Scope, receive: Receive, send: Send, stream: trio.abc.Stream, target: bytes, headers: Headers
) -> None:
    """Returns when the answer is through or the client has gone.

    Raises Problem 502 or 504 while no answer has begun (perhaps in a group), CutOff afterwards.
    """
    upstream = _Upstream(stream)
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in scope["headers"])
    head = h11.Request(
        method=scope["method"],
        target=target,
        headers=[*headers, (b"connection", b"close"), *([(b"transfer-encoding", b"chunked")] if chunked else [])],
    )
    async with trio.open_nursery() as nursery:
        await upstream.send(head)
        nursery.start_soon(_send_body, receive, upstream, nursery.cancel_scope)
        await _relay(upstream, send)
        nursery.cancel_scope.cancel("the answer is through")


async def _send_body(receive: Receive, upstream: _Upstream, scope: trio.CancelScope) -> None:
    """Until the client has gone, which ends everything."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            scope.cancel("the client has gone")
            return
        if body := message.get("body", b""):
            await upstream.send(h11.Data(data=body))
        if not message.get("more_body", False):
            await upstream.send(h11.EndOfMessage())


async def _relay(upstream: _Upstream, send: Send) -> None:
    with trio.move_on_after(HEAD_LIMIT) as scope:
        head = await upstream.response()
    if scope.cancelled_caught:
        raise Problem(status=504, code="no_answer", detail="the task's server did not answer in time")
    await send({"type": "http.response.start", "status": head.status_code, "headers": passed_on(head.headers)})
    try:
        with trio.fail_after(PIECE_LIMIT) as scope:
            while (piece := await upstream.piece()) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                scope.deadline = trio.current_time() + PIECE_LIMIT
    except trio.TooSlowError:
        raise CutOff("the task's server fell silent in the middle of its answer") from None
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Upstream:
    """h11's client over a stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)

    async def send(self, event: h11.Event) -> None:
        """What the other side no longer wants is dropped: it may have answered already."""
        if self._connection.our_state in (h11.DONE, h11.CLOSED, h11.MUST_CLOSE, h11.ERROR):
            return
        try:
            data = self._connection.send(event)
            if data:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        except h11.LocalProtocolError as error:
            raise Problem(status=400, code="malformed", detail=f"the request can't be passed on: {error}") from None

    async def response(self) -> h11.Response:
        """The answer's head; 1xx are not passed on."""
        try:
            while True:
                event = await self._next()
                if isinstance(event, h11.Response):
                    return event
                if not isinstance(event, h11.InformationalResponse):
                    raise trio.BrokenResourceError("the connection ended")
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError) as error:
            raise Problem(
                status=502, code="bad_gateway", detail=f"the task's server gave no answer: {error}"[:300]
            ) from None

    async def piece(self) -> bytes | None:
        """The next bytes of the body, None at its end; raises CutOff."""
        try:
            event = await self._next()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError) as error:
            raise CutOff(f"the task's server ended in the middle of its answer: {error}") from None
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _next(self) -> object:
        while True:
            event = self._connection.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._connection.receive_data(bytes(await self._stream.receive_some(PIECE)))
