"""A task's own server, reached through the api and its worker: bodies, streams, WebSocket, and who is kept out."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)  # fmt: skip

from actors.model.ports import TaskRoute
from api.http.app import create_app
from api.settings import Settings
from api.worker_http.app import create_worker_app
from tests.support.fake_store import FakeStore
from tests.support.http_api import services
from tests.support.serving import lifespan, serving

KEY = hashlib.sha256(b"session secret").digest()


class TaskServer:
    """What a handler might serve. Remembers what reached it."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.go_on, self.gone = trio.Event(), trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["path"] == "/stream":
            await self._stream(receive, send)
        elif scope["path"] == "/echo":
            await self._echo(receive, send)
        elif scope["path"] == "/reverse":
            await self._reverse(receive, send)
        elif scope["path"] == "/cut":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise RuntimeError("on purpose")
        else:
            headers = [(b"x-app", b"yes"), (b"set-cookie", b"a=b"), (b"connection", b"x-hop"), (b"x-hop", b"1")]
            await send({"type": "http.response.start", "status": 418, "headers": headers})
            await send({"type": "http.response.body", "body": scope["path"].encode()})

    async def _stream(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"second", "more_body": False})

    async def _reverse(self, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[::-1]})

    async def _echo(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})
            if not more:
                return

    async def _websocket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/no":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": "chat" if scope["subprotocols"] else None})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.gone.set()
                return
            if message.get("text") == "bye":
                await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
                return
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


@dataclass
class Facts:
    """A worker that runs attempt 2 of task 17, serving, and attempt 1 of task 18, not serving."""

    worker_id: str = "w-1"
    servers: dict[int, tuple[int, str]] = field(default_factory=dict)
    at_work: list[dict[str, Any]] = field(default_factory=lambda: [{"id": 17, "attempt": 2}, {"id": 18, "attempt": 1}])
    ok: bool = True

    def checks(self) -> dict[str, dict[str, Any]]:
        names = ("coordinator_connection", "task_processing_status", "database_connection", "server_status")
        status = "ok" if self.ok else "failed"
        return {name: {"status": status, "detail": "d", "age": 0.0} for name in names}

    def ready(self) -> tuple[bool, str]:
        return self.ok, "takes work" if self.ok else "coordinator: not connected"

    def running(self) -> list[dict[str, Any]]:
        return self.at_work

    def server_of(self, task_id: int) -> tuple[int, str] | None:
        return self.servers.get(task_id)

    def secret_hash(self) -> bytes:
        return KEY

    def tree(self) -> dict[str, Any]:
        return {"name": "worker"}


@dataclass
class System:
    app: TaskServer
    facts: Facts
    store: FakeStore
    api: httpx.AsyncClient
    worker: httpx.AsyncClient
    api_port: int

    def route(self, task_id: int, attempt: int, state: str = "running", **changes: Any) -> None:
        given: dict[str, Any] = {
            "state": state,
            "attempt": attempt,
            "started": state == "running",
            "http_address": str(self.worker.base_url),
            "key": KEY,
        }
        self.store.routes[task_id] = TaskRoute(**{**given, **changes})


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cb") as name:  # short: a unix socket's path is bounded
        yield Path(name)


@asynccontextmanager
async def executor(app: Any, path: Path) -> AsyncIterator[None]:
    config = Config()
    config.bind, config.accesslog, config.errorlog = [f"unix:{path}"], None, None
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(app, config, task_status=task_status))
        yield
        nursery.cancel_scope.cancel("the test is over")


@pytest.fixture
async def system(folder: Path) -> AsyncIterator[System]:
    app, facts, store = TaskServer(), Facts(), FakeStore()
    facts.servers[17] = (2, str(folder / "s"))
    worker_app = create_worker_app(facts, Settings(roles=("worker",), token="sesame"))
    async with (
        executor(app, folder / "s"),
        serving(worker_app) as worker_port,
        serving(create_app(services(store))) as api_port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker_port}") as worker,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{api_port}/api/v1", headers={"Authorization": "Bearer sesame"}
        ) as api,
    ):
        found = System(app, facts, store, api, worker, api_port)
        found.route(17, 2)
        yield found


async def test_a_request_reaches_the_tasks_server_without_the_callers_credentials(system: System) -> None:
    headers = {"Cookie": "c=1", "X-Mine": "kept", "X-Callboard-Route": "17.2.9.x", "X-Forwarded-Prefix": "/evil"}
    answer = await system.api.get("/tasks/17/http/a/b%20c?x=1&y=%2F", headers=headers)
    assert (answer.status_code, answer.text) == (418, "/a/b c")
    assert answer.headers["x-app"] == "yes"
    for name in ("x-request-id", "date", "x-content-type-options"):
        assert len(answer.headers.get_list(name)) == 1
    assert not {"set-cookie", "x-hop"} & answer.headers.keys()
    [scope] = system.app.scopes
    assert (scope["raw_path"], scope["query_string"]) == (b"/a/b%20c", b"x=1&y=%2F")
    reached = dict(scope["headers"])
    assert reached[b"x-mine"] == b"kept"
    assert reached[b"x-request-id"].decode() == answer.headers["x-request-id"]
    assert reached[b"x-forwarded-prefix"] == b"/api/v1/tasks/17/http"
    assert not {b"authorization", b"cookie", b"x-callboard-route"} & reached.keys()


async def test_an_answer_streams_while_it_is_made(system: System) -> None:
    with trio.fail_after(5):
        async with system.api.stream("GET", "/tasks/17/http/stream") as answer:
            pieces = []
            async for piece in answer.aiter_raw():
                pieces.append(piece)
                system.app.go_on.set()
    assert pieces == [b"first", b"second"]


async def test_bodies_stream_both_ways_beyond_every_limit_of_the_api(system: System) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for n in range(80):
            yield bytes([n]) * 65_536

    with trio.fail_after(20):
        answer = await system.api.put("/tasks/17/http/reverse", content=pieces())
    assert answer.content == b"".join([bytes([n]) * 65_536 for n in reversed(range(80))])
    answer = await system.api.post("/tasks/17/http/echo", content=b"with a length")
    assert answer.content == b"with a length"
    assert (await system.api.head("/tasks/17/http/x")).status_code == 418


async def test_a_vanished_client_is_noticed_by_the_tasks_server(system: System) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", system.api_port)
    head = b"POST /api/v1/tasks/17/http/echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\r\n"
    await stream.send_all(head + b"Content-Length: 100\r\n\r\nabc")
    assert b"200" in bytes(await stream.receive_some(100))
    await stream.aclose()
    with trio.fail_after(3):
        await system.app.gone.wait()


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(system: System) -> None:
    with pytest.raises(httpx.RemoteProtocolError), trio.fail_after(5):
        await system.api.get("/tasks/17/http/cut")


@pytest.mark.parametrize(
    ("state", "changes", "status"),
    [
        ("queued", {"key": None, "http_address": None}, 409),
        ("assigned", {}, 409),
        ("succeeded", {"key": None}, 410),
        ("cancelled", {"key": None}, 410),
        ("running", {"http_address": None}, 502),
        ("running", {"http_address": "http://127.0.0.1:1"}, 502),
        ("running", {"key": b"of another session" * 2}, 403),
        ("running", {"attempt": 1}, 410),
        ("running", {"attempt": 3}, 410),
    ],
)
async def test_states_without_a_server_have_their_status(
    system: System, state: str, changes: dict[str, Any], status: int
) -> None:
    system.route(17, changes.pop("attempt", 2), state, **changes)
    answer = await system.api.get("/tasks/17/http/")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert system.app.scopes == []


async def test_running_without_a_server_yet_unknown_and_ended_here(system: System) -> None:
    system.route(18, 1)
    system.route(19, 1)
    assert (await system.api.get("/tasks/18/http/")).status_code == 409
    assert (await system.api.get("/tasks/19/http/")).status_code == 410
    assert (await system.api.get("/tasks/20/http/")).status_code == 404
    assert (await system.api.get("/tasks/x/http/")).status_code == 404
    system.facts.servers[18] = (1, "/nonexistent/socket")
    assert (await system.api.get("/tasks/18/http/")).status_code == 410


@pytest.mark.parametrize("route", [None, "17.2.9999999999." + "0" * 64, "x"])
async def test_a_worker_is_not_reached_without_a_signed_route(system: System, route: str | None) -> None:
    headers = {"Authorization": "Bearer sesame"} | ({"X-Callboard-Route": route} if route else {})
    assert (await system.worker.get("/tasks/17/", headers=headers)).status_code == 403
    assert system.app.scopes == []


async def test_a_workers_own_answers(system: System) -> None:
    worker = system.worker
    for path, status in (("/livez", 200), ("/readyz", 200), ("/healthz", 200), ("/version", 200), ("/metrics", 200),
                         ("/tasks", 401), ("/tree", 401), ("/nothing", 401)):  # fmt: skip
        assert (await worker.get(path)).status_code == status
    assert set((await worker.get("/healthz")).json()["checks"]) == set(system.facts.checks())
    tasks = (await worker.get("/tasks", headers={"Authorization": "Bearer sesame"})).json()
    assert [one["id"] for one in tasks["items"]] == ["17", "18"]
    assert "callboard_worker_attempts 2.0" in (await worker.get("/metrics")).text
    system.facts.ok = False
    assert (await worker.get("/healthz")).status_code == 503
    assert (await worker.get("/readyz")).json()["detail"] == "coordinator: not connected"
    assert (await worker.get("/livez")).status_code == 200


class Socket:
    """A WebSocket client."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._connection = stream, WSConnection(ConnectionType.CLIENT)
        self._events: list[Any] = []

    async def send(self, event: Any) -> None:
        await self._stream.send_all(self._connection.send(event))

    async def next(self) -> Any:
        with trio.fail_after(5):
            while not self._events:
                self._connection.receive_data(bytes(await self._stream.receive_some(65_536)) or None)
                self._events.extend(self._connection.events())
        event = self._events.pop(0)
        if isinstance(event, Ping):  # the server asks whether we are there
            await self.send(event.response())
            return await self.next()
        return event

    async def message(self) -> Any:
        parts = []
        while True:
            event = await self.next()
            assert isinstance(event, Message)
            parts.append(event.data)
            if event.message_finished:
                return type(parts[0])().join(parts)


@asynccontextmanager
async def websocket(system: System, path: str, **options: Any) -> AsyncIterator[Socket]:
    headers = [(b"authorization", b"Bearer sesame"), *options.pop("headers", [])]
    async with await trio.open_tcp_stream("127.0.0.1", system.api_port) as stream:
        one = Socket(stream)
        target = f"/api/v1/tasks/17/http{path}"
        await one.send(Request(host=f"127.0.0.1:{system.api_port}", target=target, extra_headers=headers, **options))
        yield one


async def test_a_websocket_carries_text_bytes_and_the_close(system: System) -> None:
    async with websocket(system, "/ws?a=1", subprotocols=["chat"]) as one:
        accepted = await one.next()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "chat"
        await one.send(TextMessage(data="hällo"))
        assert await one.message() == "hällo"
        await one.send(BytesMessage(data=b"\x00" * 300_000))
        assert await one.message() == b"\x00" * 300_000
        await one.send(Ping(payload=b"p"))
        assert isinstance(await one.next(), Pong)
        await one.send(TextMessage(data="bye"))
        closed = await one.next()
        assert isinstance(closed, CloseConnection)
        assert (closed.code, closed.reason) == (4001, "as you wish")
    assert system.app.scopes[0]["query_string"] == b"a=1"
    assert b"authorization" not in dict(system.app.scopes[0]["headers"])


async def test_a_client_that_leaves_a_websocket_is_noticed(system: System) -> None:
    async with websocket(system, "/ws") as one:
        await one.next()
    with trio.fail_after(3):
        await system.app.gone.wait()


@pytest.mark.parametrize(
    ("path", "attempt", "headers", "status"),
    [
        ("/no", 2, [], 403),
        ("/ws", 1, [], 410),
        ("/ws", 2, [(b"origin", b"http://evil.example")], 403),
    ],
)
async def test_a_refused_websocket_gets_a_status(
    system: System, path: str, attempt: int, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    system.route(17, attempt)
    async with websocket(system, path, headers=headers) as one:
        rejected = await one.next()
    assert isinstance(rejected, RejectConnection)
    assert rejected.status_code == status


async def test_there_is_no_websocket_elsewhere(system: System) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", system.api_port) as stream:
        one = Socket(stream)
        headers = [(b"authorization", b"Bearer sesame")]
        await one.send(Request(host="127.0.0.1", target="/api/v1/tasks", extra_headers=headers))
        rejected = await one.next()
    assert isinstance(rejected, RejectConnection)
    assert rejected.status_code == 404
