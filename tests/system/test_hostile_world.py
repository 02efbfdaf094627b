"""Everything that strangers send, at real nodes that have work to do: the work goes on, and nothing stays behind."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import psutil
import pytest
import trio

from tests.support.cluster import Cluster, Node
from tests.support.raw_http2 import PREFACE, SETTINGS, frame

TOKEN = "canary-of-the-token"
HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n".encode()
POST = b"POST /api/v1/tasks HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\n"
SECRETS = (b"Traceback", b"asyncpg", b"SELECT ", b"/site-packages/", TOKEN.encode())


def posted(body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: " + str(len(body)).encode() + b"\r\n"
    return POST + length + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


HTTP: Sequence[bytes] = [
    b"", b"\r\n\r\n", b"GARBAGE\r\n\r\n", bytes(range(256)) * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512),
    PREFACE + SETTINGS, b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET /livez HTTP/1.1\r\n" + HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", POST + b"Content-Length: 100\r\n\r\n{",
    posted(b"{"), posted(b'{"name": "\\u0000"}'), posted(b'{"name": "job", "args": {"x": "\\ud800"}}'),
    posted(b'{"name": "job", "args": ' + b"[" * 100_000), posted(b'{"name": "job", "args": {"x": 1e400}}'),
    posted(b'{"name": "job", "delay": "5m"}'), posted(b"x", b"Content-Encoding: gzip"),
    posted(b'{"name": "job"}', b"Idempotency-Key: \xff"), posted(b"[" * 2_000_000),
    b"GET /api/v1/tasks?tag=%ff&cursor=%00&limit=9999999999 HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET /api/v1/tasks/1%0d%0aX:%20y HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"POST /api/v1/tasks/-1/cancel HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"DELETE /api/v1/workers/%2e%2e HTTP/1.1\r\n" + HEAD + b"\r\n",
]  # fmt: skip
GRPC: Sequence[bytes] = [
    b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)) * 100, PREFACE[:10], PREFACE + SETTINGS,
    PREFACE + SETTINGS + frame(0x7F, payload=b"12345678"), PREFACE + SETTINGS + frame(1, 4, 1, b"\xff" * 8),
    PREFACE + SETTINGS + frame(0, 1, 1, b"x"), PREFACE + SETTINGS + frame(8, 0, 0, bytes(4)),
    PREFACE + SETTINGS + frame(6, payload=b"12345678") * 1000, PREFACE + SETTINGS + SETTINGS * 1000,
    PREFACE + SETTINGS + frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\x82") * 100, PREFACE + b"\xff\xff\xff" + bytes(64),
]  # fmt: skip


async def send(port: int, data: bytes, *, reset: bool) -> bytes:
    """What comes back within a moment; the connection is then closed, or reset."""
    received = b""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    try:
        await stream.send_all(data)
        with trio.move_on_after(0.3):
            while part := await stream.receive_some():
                received += bytes(part)
    except trio.BrokenResourceError:
        pass
    if reset:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)
    return received


async def storm(port: int, sent: Sequence[bytes], rounds: int) -> list[bytes]:
    answers: list[bytes] = []

    async def one(data: bytes, reset: bool) -> None:
        answers.append(await send(port, data, reset=reset))

    for number in range(rounds):
        async with trio.open_nursery() as nursery:
            for data in sent:
                nursery.start_soon(one, data, number % 2 == 0)
    return answers


def footprint(node: Node) -> tuple[int, int]:
    process = psutil.Process(node.pid)
    return process.num_fds(), process.memory_info().rss >> 20


@pytest.mark.bad_input("HT21", "GR04", "JS25")
async def test_a_storm_of_bad_input_leaves_a_working_system_as_it_was(cluster: Cluster) -> None:
    server = await cluster.server(callboard_token=TOKEN)
    cluster.http.headers["Authorization"] = f"Bearer {TOKEN}"
    worker = await cluster.worker("w", server, callboard_token=TOKEN)
    await cluster.until_workers(1)
    ids: list[int] = []
    over = trio.Event()

    async def work() -> None:
        while not over.is_set():
            ids.append(await cluster.submit("quick", n=len(ids)))
            await trio.sleep(0.02)

    ports = server.ready["http"], server.ready["grpc"], worker.ready["http"]
    await storm(ports[0], HTTP, 1)  # what is loaded and cached at first use is not what stays behind
    await storm(ports[1], GRPC, 1)
    before = footprint(server)
    answers: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        answers += await storm(ports[0], HTTP, 2)
        answers += await storm(ports[1], GRPC, 2)
        answers += await storm(ports[2], HTTP, 1)
        over.set()
    for answer in answers:
        assert not any(secret in answer for secret in SECRETS), answer
        assert not answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 502", b"HTTP/1.1 504"))
    with trio.fail_after(2):
        assert (await cluster.final(await cluster.submit("quick", n=7)))["result"] == 7
    assert [(await cluster.final(task))["state"] for task in ids] == ["succeeded"] * len(ids)
    assert {event["attempt"] for event in cluster.events("start")} == {1}
    await settled(server, before)
    for name in ("server", "w"):
        assert "Traceback" not in cluster.log(name)
        assert TOKEN not in cluster.log(name)


async def settled(node: Node, before: tuple[int, int]) -> None:
    """No descriptor and no zombie stays, and 20 MiB at most."""
    with trio.fail_after(10):
        while footprint(node)[0] > before[0] + 3:
            await trio.sleep(0.1)
    assert footprint(node)[1] <= before[1] + 20
    assert all(child.status() != psutil.STATUS_ZOMBIE for child in psutil.Process(node.pid).children(recursive=True))
