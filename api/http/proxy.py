"""The api's way to the server of a task: looks the route up, signs it, passes the request on to the worker."""

from __future__ import annotations

import re
import time
from urllib.parse import urlsplit

import trio

from actors.model.ports import TaskRoute, TaskStore
from actors.model.task import FINAL
from api.http.asgi import REQUEST_ID, Receive, Scope, Send
from api.http.forward import Headers, forward_http, passed_on
from api.http.forward_websocket import forward_websocket
from api.http.ids import task_id_of
from api.http.problems import Problem, not_found
from api.http.route_signature import HEADER, sign

CONNECT_LIMIT = 3.0  # seconds
TASK_SERVERS = re.compile(r"/api/v1/tasks/([^/]+)/http(/.*)?", re.DOTALL)
# The path as it was sent: decoding and encoding it again would change it.
_RAW = re.compile(rb"/api/v1/tasks/[^/]+/http(/.*)?", re.DOTALL)


class TaskProxy:
    """Serves /api/v1/tasks/{id}/http/…"""

    def __init__(self, store: TaskStore) -> None:
        self._store = store

    async def serve(self, id_text: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem: 404 unknown task, 409 while it starts, 410 once it has ended, 502 without the worker."""
        task_id = task_id_of(id_text)
        route = await self._store.route(task_id)
        address, key = reachable(task_id, route)
        assert route is not None
        found = urlsplit(address)
        host, port = found.hostname or "", found.port or 80
        rest = below(scope, _RAW)
        headers = [
            *(header for header in passed_on(scope["headers"]) if header[0] != b"x-forwarded-prefix"),
            (b"host", found.netloc.encode("ascii", "replace")),
            (HEADER.lower().encode(), sign(key, task_id, route.attempt, time.time()).encode()),
            (b"x-request-id", scope[REQUEST_ID].encode()),
            (b"x-forwarded-prefix", b"/api/v1/tasks/%d/http" % task_id),
        ]
        stream = await connect(host, port)
        async with stream:
            await pass_on(scope, receive, send, stream, b"/tasks/%d%s" % (task_id, rest), headers)


def reachable(task_id: int, route: TaskRoute | None) -> tuple[str, bytes]:
    """The worker's address and the key to sign with; raises Problem."""
    if route is None:
        raise not_found(f"task {task_id} does not exist, or was pruned")
    if route.state in FINAL:
        raise gone(f"task {task_id} is {route.state}: its server has ended with it", route.state)
    if not route.started or route.key is None:
        raise starting(f"task {task_id} is {route.state}: its server does not run yet", route.state)
    if route.http_address is None:
        raise Problem(status=502, code="no_address", detail=f"the worker of task {task_id} has no HTTP address")
    return route.http_address, route.key


def gone(detail: str, state: str | None = None) -> Problem:
    return Problem(status=410, code="ended", detail=detail, extra={"state": state})


def starting(detail: str, state: str | None = None) -> Problem:
    return Problem(
        status=409, code="starting", detail=detail, headers={"Retry-After": "1"}, extra={"state": state}
    )  # fmt: skip


def below(scope: Scope, pattern: re.Pattern[bytes]) -> bytes:
    """What follows the route's own part of the raw path, with the query string."""
    found = pattern.fullmatch(scope["raw_path"])
    if found is None:
        raise not_found("write the path of a task's server without escapes before its own part")
    query = scope.get("query_string", b"")
    return (found.group(1) or b"/") + (b"?" + query if query else b"")


async def connect(host: str, port: int) -> trio.SocketStream:
    """Raises Problem 502."""
    try:
        with trio.fail_after(CONNECT_LIMIT):
            return await trio.open_tcp_stream(host, port)
    except (OSError, trio.TooSlowError):
        raise Problem(
            status=502,
            code="bad_gateway",
            detail="the worker that runs the task can't be reached over HTTP from this node",
            headers={"Retry-After": "1"},
        ) from None


async def pass_on(
    scope: Scope, receive: Receive, send: Send, stream: trio.abc.Stream, target: bytes, headers: Headers
) -> None:
    """Whatever the request is: HTTP or WebSocket."""
    if scope["type"] != "websocket":
        await forward_http(scope, receive, send, stream, target, headers)
        return
    host = next(value for name, value in headers if name == b"host").decode("latin-1")
    kept = [(name, value) for name, value in headers if name != b"host" and not name.startswith(b"sec-websocket-")]
    await forward_websocket(scope, receive, send, stream, target, host, kept)
