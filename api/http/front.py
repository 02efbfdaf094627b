"""What every request meets first, before Quart: request id, access, limits, and the way to tasks' own servers.

It stands outside of Quart because a request body must reach a task's server piece by piece, and Quart
collects bodies in memory.
"""

from __future__ import annotations

import logging
import re
import secrets
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from actors.runtime.supervisor import describe, leaves
from api.http.access import OPEN, Access, InFlight
from api.http.asgi import REQUEST_ID, App, CutOff, Message, Receive, Scope, Send, send_problem
from api.http.problems import Problem, malformed, not_found, problem_of

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
SAFETY = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class Proxy(Protocol):
    async def serve(self, id_text: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request, or raises Problem."""
        ...


@dataclass(frozen=True, slots=True)
class Path:
    """Which paths are a task's own server."""

    pattern: re.Pattern[str]  # its first group is the task's id
    proxy: Proxy
    signed: bool = False  # guarded by signed routes instead of the token

    def id_in(self, path: str) -> str | None:
        found = self.pattern.fullmatch(path)
        return None if found is None else found.group(1)


class Front:
    """An ASGI application around the other one."""

    def __init__(self, inner: App, access: Access, tasks: Path | None) -> None:
        self._inner, self._access, self._tasks = inner, access, tasks
        self._clients = InFlight()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = _request_id(scope)
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                started = True
                message["headers"] = [
                    *_with_safety(message.get("headers", ())), (b"x-request-id", request_id.encode())
                ]  # fmt: skip
            await send(message)

        try:
            await self._dispatch(scope, receive, answer)
        except* Exception as errors:
            problem = _worst(leaves(errors))
            if not isinstance(problem, Problem | CutOff):
                log.error("request %s failed: %s", request_id, describe(errors), exc_info=errors)
            if started:
                raise CutOff(describe(errors)) from None
            await send_problem(scope, answer, problem_of(problem))

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = scope["type"] == "websocket"
        method, path = "WEBSOCKET" if websocket else scope["method"], scope["path"]
        id_text = None if self._tasks is None else self._tasks.id_in(path)
        signed = id_text is not None and self._tasks is not None and self._tasks.signed
        problem = self._access.refusal(method, path, scope["headers"], signed=signed)
        if problem is None and id_text is None:
            problem = _unreadable(scope)
        if problem is not None:
            raise problem
        if path in OPEN and not websocket:
            await self._inner(scope, receive, send)
            return
        with self._in_flight(scope, signed):
            if id_text is not None and self._tasks is not None:
                await self._tasks.proxy.serve(id_text, scope, receive, send)
            elif websocket:
                raise not_found("there is no WebSocket here")
            else:
                await self._inner(scope, receive, send)

    def _in_flight(self, scope: Scope, signed: bool) -> AbstractContextManager[None]:
        """An api node passes on the requests of many clients, which it has counted itself."""
        return nullcontext() if signed else self._clients.of((scope.get("client") or ("local", 0))[0])


def _worst(errors: list[BaseException]) -> BaseException:
    """What decides the answer: an error that nobody expected before a problem."""
    return next((error for error in errors if not isinstance(error, Problem)), errors[0])


def _request_id(scope: Scope) -> str:
    """The caller's, when it is a decent one."""
    for name, value in scope["headers"]:
        if name.lower() == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            given: str = value.decode()
            return given
    return secrets.token_hex(8)


def _unreadable(scope: Scope) -> Problem | None:
    """Expectations that nobody fulfils, compressed bodies, which are taken nowhere, and queries that are no text."""
    for name, value in scope["headers"]:
        if name.lower() == b"expect" and value.lower() != b"100-continue":
            return Problem(status=417, code="expectation_failed", detail="only Expect: 100-continue is understood")
        if name.lower() == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return Problem(status=415, code="content_encoding", detail="send the body uncompressed")
    try:
        unquote_to_bytes(scope["query_string"]).decode()
    except UnicodeDecodeError:
        return malformed("query_invalid", "the query string is not UTF-8 when its %XX are resolved")
    return None


def _with_safety(headers: object) -> list[tuple[bytes, bytes]]:
    found = [(bytes(name).lower(), bytes(value)) for name, value in headers]  # type: ignore[attr-defined]
    names = {name for name, _ in found}
    return found + [(name, value) for name, value in SAFETY if name not in names]
