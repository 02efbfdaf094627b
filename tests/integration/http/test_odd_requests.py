"""Requests that no library would send, over real sockets: a status, a closed connection, and nothing stored."""

from __future__ import annotations

import json
import logging
import socket
import struct
from typing import Any

import httpx
import pytest
import trio

from api.http import connection, serve
from api.http.app import create_app
from tests.support.fake_store import FakeStore
from tests.support.http_api import services
from tests.support.serving import exchange, serving, status_of

HEAD = b"Host: localhost\r\nAuthorization: Bearer sesame\r\n"
CLOSE = HEAD + b"Connection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
BODY = b'{"name":"job"}'
POST = b"POST /api/v1/tasks HTTP/1.1\r\n" + HEAD + JSON
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LIVE = b"GET /livez HTTP/1.1\r\n"


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def app(store: FakeStore) -> Any:
    return create_app(services(store))


def must_be_a_problem(answer: bytes, *statuses: int) -> None:
    assert status_of(answer) in statuses, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"Traceback" not in body
    assert len(body) < 2048
    assert json.loads(body)["detail"]


def lengths(*values: bytes) -> bytes:
    return POST + b"".join(b"Content-Length: " + value + b"\r\n" for value in values) + b"\r\n" + BODY


@pytest.mark.bad_input("HT02", "HT03", "HT04")
@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (lengths(b"+14"), (400,)),
        (lengths(b"14, 15"), (400,)),
        (lengths(b"0x0e"), (400,)),
        (lengths(b"-1"), (400,)),
        (lengths(b"1" * 30), (400, 413)),
        (CHUNKED + b"zz\r\n" + BODY, (400,)),
        (CHUNKED + b"-1\r\n" + BODY, (400,)),
        (CHUNKED + b"e;" + b"x" * 1_048_576 + b"\r\n", (400, 413, 431)),
        (CHUNKED + b"e\r\n" + BODY + b"junk\r\n0\r\n\r\n", (400,)),
        (POST + b"Transfer-Encoding: identity, chunked\r\n\r\n", (400, 501)),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n", (400, 501)),
    ],
    ids=range(11),
)
async def test_a_body_of_unclear_length_is_refused(
    app: Any, store: FakeStore, sent: bytes, statuses: tuple[int, ...]
) -> None:
    async with serving(app) as port:
        must_be_a_problem(await exchange(port, sent), *statuses)
    assert store.tasks == {}


@pytest.mark.bad_input("HT05", "HT06", "HT08", "HT11")
@pytest.mark.parametrize(
    "sent",
    [
        LIVE + b"Host: a b\r\nConnection: close\r\n\r\n",
        LIVE + b"Host: me@localhost\r\nConnection: close\r\n\r\n",
        LIVE + b"Host: localhost/path\r\nConnection: close\r\n\r\n",
        LIVE + b"Host : localhost\r\n\r\n",
        LIVE + CLOSE + b"X-A: a\x00b\r\n\r\n",
        LIVE + CLOSE + b"X-A: a\rb\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/0.9\r\n" + CLOSE + b"\r\n",
        b"M" * 300 + b" /livez HTTP/1.1\r\n" + CLOSE + b"\r\n",
        b"get /livez HTTP/1.1\r\n" + CLOSE + b"\r\n",
        b"TRACE /livez HTTP/1.1\r\n" + CLOSE + b"\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\n" + CLOSE + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + CLOSE + b"\r\n",
    ],
    ids=range(13),
)
async def test_an_odd_head_is_refused(app: Any, sent: bytes) -> None:
    async with serving(app) as port:
        must_be_a_problem(await exchange(port, sent), 400, 403, 404, 405, 501, 505)


@pytest.mark.bad_input("HT07")
async def test_folded_headers_and_bare_line_feeds_mean_what_they_meant_in_http_1_0(app: Any) -> None:
    async with serving(app) as port:
        folded = await exchange(port, LIVE + CLOSE + b"X-Request-Id: a\r\n b\r\n\r\n")
        bare = await exchange(port, (LIVE + CLOSE + b"\r\n").replace(b"\r\n", b"\n"))
    assert (status_of(folded), status_of(bare)) == (200, 200)


@pytest.mark.bad_input("HT12")
@pytest.mark.parametrize(
    "path", [b"/%2e%2e/%2e%2e/etc/passwd", b"/..%5c..%5c", b"/api/v1/tasks/1%0d%0aX-Evil:%20yes", b"/%ff%fe", b"/%zz"]
)
async def test_an_odd_path_leads_nowhere_and_into_no_header_or_log_line(
    app: Any, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(app) as port:
            answer = await exchange(port, b"GET " + path + b" HTTP/1.1\r\n" + CLOSE + b"\r\n")
    must_be_a_problem(answer, 400, 404)
    assert b"\r\nx-evil" not in answer.lower()
    assert all("\n" not in record.getMessage() and "\r" not in record.getMessage() for record in caplog.records)


@pytest.mark.bad_input("HT13")
async def test_an_absolute_target_is_never_routed_onward(app: Any) -> None:
    async with serving(app) as port:
        for target in (b"http://example.com/livez", b"http://127.0.0.1:1/api/v1/stats", b"//example.com/livez"):
            answer = await exchange(port, b"GET " + target + b" HTTP/1.1\r\n" + CLOSE + b"\r\n")
            assert status_of(answer) in (200, 404)  # its path is looked for here
            assert b"\r\nx-request-id: " in answer


@pytest.mark.bad_input("HT15")
async def test_a_body_that_drips_is_given_up(app: Any, store: FakeStore) -> None:
    app.config["BODY_TIMEOUT"] = 0.5
    async with serving(app) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        answer = b""
        with trio.fail_after(5):
            await stream.send_all(POST + b"Content-Length: 1000\r\n\r\n")
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def drip() -> None:
                    with trio.CancelScope():
                        while True:
                            try:
                                await stream.send_all(b" ")
                            except trio.BrokenResourceError:
                                return
                            await trio.sleep(0.05)

                try:
                    async for data in stream:
                        answer += bytes(data)
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel("the answer is there")
        await trio.aclose_forcefully(stream)
    must_be_a_problem(answer, 408)
    assert store.tasks == {}


@pytest.mark.bad_input("HT16")
@pytest.mark.parametrize("reset", [False, True])
async def test_a_body_that_ends_early_stores_nothing_and_harms_nobody(app: Any, store: FakeStore, reset: bool) -> None:
    async with serving(app) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(POST + b"Content-Length: 100\r\n\r\n" + BODY)
        if reset:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
        assert status_of(await exchange(port, LIVE + CLOSE + b"\r\n")) == 200
    assert store.tasks == {}


@pytest.mark.bad_input("HT20")
@pytest.mark.parametrize("accept", ["image/png", "application/json;q=nonsense", "", "*/*;q=9", "x" * 5_000])
async def test_whoever_wants_no_json_gets_it_all_the_same(app: Any, accept: str) -> None:
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as client:
        answer = await client.get("/api/v1/stats", headers={"Authorization": "Bearer sesame", "Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


async def status_at(port: int) -> int:
    """0 where the connection is closed at once."""
    try:
        return status_of(await exchange(port, LIVE + CLOSE + b"\r\n") or b"- 0 -")
    except trio.BrokenResourceError:
        return 0


@pytest.mark.bad_input("HT21")
async def test_connections_beyond_the_limit_are_closed_at_once_and_the_others_served(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "CONNECTIONS", 20)
    async with serving(app) as port:
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
        with trio.fail_after(5):
            while await status_at(port):
                pass  # until the server has accepted all of them
            await idle[0].send_all(LIVE + CLOSE + b"\r\n")
            assert status_of(bytes(await idle[0].receive_some())) == 200
            await idle[0].aclose()
            while await status_at(port) != 200:
                pass
        for stream in idle:
            await trio.aclose_forcefully(stream)


@pytest.mark.bad_input("HT21")
async def test_a_thousand_requests_at_once_in_one_connection_are_answered_in_turn(app: Any) -> None:
    async with serving(app) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        answers = b""
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, (LIVE + HEAD + b"\r\n") * 999 + LIVE + CLOSE + b"\r\n")
                async for data in stream:
                    answers += bytes(data)
        await stream.aclose()
    assert answers.count(b"HTTP/1.1 200") == 1000


@pytest.mark.bad_input("HT14")
async def test_a_head_that_drips_is_cut_off(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_LIMIT", 0.5)
    async with serving(app) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            for letter in LIVE * 100:
                await stream.send_all(bytes([letter]))
                await trio.sleep(0.02)
        await stream.aclose()


@pytest.mark.bad_input("HT24")
async def test_a_websocket_is_refused_where_there_is_none(app: Any) -> None:
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    async with serving(app) as port:
        with trio.fail_after(5):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(b"GET /api/v1/tasks HTTP/1.1\r\n" + HEAD + upgrade + b"\r\n")
            answer = bytes(await stream.receive_some())
            await stream.aclose()
    assert status_of(answer) in (400, 403, 404)


@pytest.mark.bad_input("HT25", "HT27", "JS29")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/v1/tasks?" + "&".join(f"p{n}=1" for n in range(101)), [], 422),
        ("GET", "/api/v1/tasks?" + "&".join(f"metadata.p{n}=1" for n in range(101)), [], 422),
        ("GET", "/api/v1/tasks?tag=a&tag=b", [], 422),
        ("GET", "/api/v1/tasks?tag=" + "x" * 7_900, [], 422),
        ("GET", "/api/v1/tasks?tag=%ff%fe", [], 400),
        ("POST", "/api/v1/tasks", [("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 400),
        ("POST", "/api/v1/tasks", [("Idempotency-Key", "a\tb")], 400),
        ("POST", "/api/v1/tasks?name=job", [], 422),
        ("PATCH", "/api/v1/tasks/1", [("If-Match", '"1"')], 412),
    ],
    ids=range(9),
)
async def test_odd_parameters_and_headers_are_named(
    app: Any, store: FakeStore, method: str, path: str, headers: list[tuple[str, str]], status: int
) -> None:
    sent = [("Authorization", "Bearer sesame"), ("Content-Type", "application/json"), *headers]
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as client:
        answer = await client.request(method, path, headers=sent, content=None if method == "GET" else BODY)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert len(answer.content) < 16_384
    assert store.tasks == {}
