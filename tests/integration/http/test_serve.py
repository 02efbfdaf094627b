"""The HTTP server over real sockets: limits, bad clients, and an end that comes on time."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from actors.model.errors import ConfigurationError
from api.http import connection
from api.http.app import create_app
from api.http.serve import GRACE, Grace, serve_http
from tests.support.fake_store import FakeStore, a_task
from tests.support.http_api import services
from tests.support.serving import exchange, lifespan, serving, status_of

HEAD = b"Host: localhost\r\nAuthorization: Bearer sesame\r\n"
CLOSE = HEAD + b"Connection: close\r\n"
POST = b"POST /api/v1/tasks HTTP/1.1\r\n" + CLOSE
PIECE = b"x" * 65_536


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """An application that sends for ever; it also answers lifespan."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})


@pytest.fixture
def app() -> Any:
    return create_app(services(FakeStore()))


async def test_it_serves_on_the_port_that_it_tells(app: Any) -> None:
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as client:
        answer = await client.get("/livez")
        assert answer.json()["status"] == "ok"
        assert "server" not in answer.headers
        assert (await client.get("/api/v1/stats", headers={"Authorization": "Bearer sesame"})).status_code == 200


async def test_a_taken_port_names_host_port_and_the_way_out(app: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as refused:
            await serve_http(app, host="127.0.0.1", port=port, name="api")
    for part in ("127.0.0.1", str(port), "another program", "--http-port", "api"):
        assert part in str(refused.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
async def test_an_address_of_another_machine_is_refused_in_words(app: Any, host: str) -> None:
    with pytest.raises(ConfigurationError, match="--host"):
        await serve_http(app, host=host, port=0, name="api")


async def test_clients_that_read_nothing_do_not_hold_up_the_end() -> None:
    async with serving(endless) as port:
        streams = []
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
            await stream.receive_some(100)
            streams.append(stream)
        await trio.sleep(0.2)  # until the server's sends are blocked
        began = trio.current_time()
    assert trio.current_time() - began < 1.5
    for stream in streams:
        await stream.aclose()


async def test_idle_connections_end_at_once_and_requests_get_their_grace(app: Any) -> None:
    store = FakeStore()
    store.tasks[1] = a_task(1)
    async with AsyncExitStack() as streams:
        async with serving(create_app(services(store))) as port:
            idle = await streams.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            await idle.send_all(b"GET /livez HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert status_of(bytes(await idle.receive_some(4096))) == 200
            began = trio.current_time()
        assert trio.current_time() - began < 0.5
        async with serving(create_app(services(store))) as port:
            waiting = await streams.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            await waiting.send_all(b"GET /api/v1/tasks/1?wait=60 HTTP/1.1\r\n" + HEAD + b"\r\n")
            await trio.sleep(0.2)
            began = trio.current_time()
        assert 0.9 < trio.current_time() - began < 1.6


@pytest.mark.bad_input("HT22")
async def test_a_reader_that_stops_for_too_long_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_LIMIT", 0.3)
    async with serving(endless) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
            await trio.sleep(0.6)
            while await stream.receive_some(65_536):
                pass
        await stream.aclose()


@pytest.mark.bad_input("HT01", "HT02", "HT05", "HT08", "HT09", "HT10", "HT12", "HT24")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n" + CLOSE + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + CLOSE + b"".join(b"X%d: y\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n" + CLOSE + b"\r\n", 414),
        (b"GET /livez HTTP/9.9\r\n" + CLOSE + b"\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (POST + b"Content-Type: application/json\r\nExpect: 200-ok\r\n\r\n", 417),
        (b"GET /%zz%00%ff/../x HTTP/1.1\r\n" + CLOSE + b"\r\n", 404),
    ],
    ids=range(13),
)  # fmt: skip
async def test_odd_heads_get_their_status(app: Any, sent: bytes, status: int) -> None:
    async with serving(app) as port:
        answer = await exchange(port, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == status
    assert b"\r\ncontent-type: application/problem+json\r\n" in head.lower()
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["code"] != "internal"
    assert f"x-request-id: {problem['request_id']}".encode() in head.lower()


async def test_a_refused_head_request_has_no_body(app: Any) -> None:
    async with serving(app) as port:
        answer = await exchange(port, b"HEAD /" + b"x" * 9_000 + b" HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert status_of(answer) == 414
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.bad_input("HT23")
async def test_an_offer_of_http2_is_not_taken_up(app: Any) -> None:
    offer = b"GET /livez HTTP/1.1\r\n" + HEAD + b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
    async with serving(app) as port:
        answer = await exchange(port, offer + b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    assert status_of(answer) == 200
    assert answer.startswith(b"HTTP/1.1")


@pytest.mark.bad_input("HT17")
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_is_refused_and_its_sender_reads_why(app: Any, chunked: bool) -> None:
    async def pieces() -> Any:
        for _ in range(160):
            yield PIECE

    headers = {"Content-Type": "application/json", "Authorization": "Bearer sesame"}
    if not chunked:
        headers["Content-Length"] = str(160 * len(PIECE))
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as client:
        with trio.fail_after(5):
            answer = await client.post("/api/v1/tasks", content=pieces(), headers=headers)
            assert answer.status_code == 413
            assert answer.json()["code"] == "too_large"
            assert (await client.get("/livez")).status_code == 200


@pytest.mark.bad_input("HT15")
async def test_a_body_that_never_comes_stores_nothing(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app.config["BODY_TIMEOUT"] = 0.3
    head = b"POST /api/v1/tasks HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    async with serving(app) as port:
        assert status_of(await exchange(port, head + b'{"name"')) == 408


@pytest.mark.bad_input("HT14")
async def test_slow_heads_are_cut_off(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_LIMIT", 0.3)
    async with serving(app) as port:
        began = trio.current_time()
        assert await exchange(port, b"GET /livez HT") == b""
        assert 0.2 < trio.current_time() - began < 2


@pytest.mark.bad_input("HT21")
async def test_one_connection_serves_many_requests_also_pipelined(app: Any) -> None:
    async with serving(app) as port:
        answer = await exchange(
            port, b"GET /livez HTTP/1.1\r\n" + HEAD + b"\r\n" + b"GET /livez HTTP/1.1\r\n" + CLOSE + b"\r\n"
        )
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_a_vanished_client_ends_its_handler() -> None:
    seen, gone = trio.Event(), trio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        seen.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with serving(waits) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
        with trio.fail_after(2):
            await seen.wait()
            await stream.aclose()
            await gone.wait()


async def test_a_crash_in_one_request_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def crashes(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["path"] == "/crash":
            raise RuntimeError("on purpose")
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"fine"})

    with caplog.at_level(logging.CRITICAL):
        async with serving(crashes) as port, httpx.AsyncClient(base_url=f"http://localhost:{port}") as client:
            assert (await client.get("/crash")).status_code == 500
            assert (await client.get("/")).text == "fine"


async def test_more_time_lets_a_request_end_and_insisting_takes_it_back() -> None:
    begun, answered = trio.Event(), b""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        begun.set()
        await trio.sleep(GRACE + 0.5)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    for insists in (False, True):
        grace, began = Grace(10.0), 0.0
        async with trio.open_nursery() as outer:
            serve = partial(serve_http, slow, host="127.0.0.1", port=0, name="test", grace=grace)
            async with trio.open_nursery() as nursery:
                port = await nursery.start(serve)
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
                await begun.wait()
                began = trio.current_time()
                if insists:
                    outer.start_soon(insist, grace)
                nursery.cancel_scope.cancel()
        took = trio.current_time() - began
        with contextlib.suppress(trio.BrokenResourceError):
            answered = bytes(await stream.receive_some(100))
        await stream.aclose()
        assert answered.startswith(b"HTTP/1.1 204") is not insists
        assert took < GRACE + 0.45 if insists else took > GRACE + 0.4
        begun, answered = trio.Event(), b""


async def insist(grace: Grace) -> None:
    await trio.sleep(0.05)
    grace.hurry()
