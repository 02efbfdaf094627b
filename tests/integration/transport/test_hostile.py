"""Bytes that no gRPC library would send: they end their own stream or connection, while a link goes on."""

from __future__ import annotations

import asyncio

import pytest
import trio
from h2.events import PingAckReceived
from hpack import Encoder
from trio_asyncio import aio_as_trio

from tests.support.links import Hub, beat, hello
from tests.support.raw_http2 import HEADERS, PREFACE, SETTINGS, Raw, beside_a_link, closed, frame, grpc_status, message
from transport import limits
from transport.codec import worker_to_wire
from transport.server import open_grpc_server

UNKNOWN = [frame(kind, payload=b"12345678") for kind in (0x0C, 0x10, 0x7F)]


@pytest.mark.bad_input("GR01", "GR02")
async def test_frames_of_unknown_kinds_are_ignored(loop: None) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        for unknown in UNKNOWN:
            await raw.stream.send_all(unknown)
        raw.http.ping(b"12345678")
        await raw.flush()
        assert await raw.until(PingAckReceived) is not None


@pytest.mark.bad_input("GR04", "GR08")
@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)),
        PREFACE + SETTINGS + b"HTTP/1.1 400 Bad Request\r\n\r\n",  # a frame of 4.7 MB is announced
        PREFACE + SETTINGS + frame(1, 4, 1, b"\xff\xff\xff\xff"),  # headers that are none
        PREFACE + SETTINGS + frame(0, 0, 3, b"data"),  # data of no stream
        PREFACE + SETTINGS + frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\x82") * 100,  # continuations without end
    ],
    ids=["tls", "http1", "noise", "overlong", "headers", "data", "continuations"],
)
async def test_what_is_not_http2_ends_its_connection(loop: None, data: bytes) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.stream.send_all(data)
        with trio.fail_after(3):
            try:
                while await raw.stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass


@pytest.mark.bad_input("GR03")
async def test_a_header_that_is_not_ascii_ends_its_connection(loop: None) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        block = Encoder().encode([*HEADERS, ("x-name", "é".encode())])
        await raw.stream.send_all(frame(1, 4, 1, block))
        await closed(raw)


@pytest.mark.bad_input("GR12", "GR15")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(b"", length=2**32 - 1), "8"),
        (message(b"", length=1024 * 1024 + 1), "8"),
        (message(b"\xff\xff\xff"), "3"),
        (message(b"\x4a\xff\xff\xff\xff\x0f"), "3"),
    ],
    ids=["4 GiB", "1 MiB + 1", "noise", "cut"],
)
async def test_a_message_that_is_none_ends_its_stream_with_a_status(loop: None, data: bytes, status: str) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        raw.http.send_headers(1, HEADERS)
        raw.http.send_data(1, data)
        await raw.flush()
        assert await grpc_status(raw) == status
        raw.http.ping(b"12345678")  # and the connection lives
        await raw.flush()
        assert await raw.until(PingAckReceived) is not None


@pytest.mark.bad_input("GR13", "GR14")
async def test_a_message_that_is_cut_or_packed_ends_its_stream(loop: None, caplog: pytest.LogCaptureFixture) -> None:
    async with beside_a_link() as connect:
        for data, ends in ((message(b"abc", length=100), True), (message(b"abc", flag=1), False)):
            raw = await connect()
            raw.http.send_headers(1, HEADERS)
            raw.http.send_data(1, data, end_stream=ends)
            await raw.flush()
            assert int(await grpc_status(raw)) > 0


async def test_a_link_that_breaks_the_contract_is_refused_by_status(loop: None) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        raw.http.send_headers(1, HEADERS)
        [good] = worker_to_wire(hello("second"))
        raw.http.send_data(1, message(bytes(good)))
        raw.http.send_data(1, message(b"\x1a\x03\x0a\x01k"))  # Accepted, with a lease key of one byte
        await raw.flush()
        assert await grpc_status(raw) == "3"


@pytest.mark.bad_input("GR10")
async def test_no_more_than_a_hundred_streams_a_connection(loop: None) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        for number in range(101):
            block = Encoder().encode(HEADERS)
            await raw.stream.send_all(frame(1, 4, 2 * number + 1, block))
        with trio.fail_after(3):
            try:
                while await raw.stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass


@pytest.mark.bad_input("GR06")
async def test_streams_opened_and_reset_without_end_cost_the_connection(loop: None) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        block = Encoder().encode(HEADERS)
        with trio.fail_after(5):
            try:
                for number in range(limits.MAX_RESETS + 20):
                    stream = 2 * number + 1
                    await raw.stream.send_all(frame(1, 4, stream, block) + frame(3, 0, stream, bytes(4)))
                while await raw.stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass


@pytest.mark.bad_input("GR09")
async def test_a_peer_that_reads_nothing_is_dropped(loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNSENT", 64 * 1024)
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        pings = frame(6, payload=b"12345678") * 2000
        with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
            while True:
                await raw.stream.send_all(pings)


@pytest.mark.bad_input("GR05")
async def test_silence_after_the_connection_is_limited(loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_LIMIT", 0.1)
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.stream.send_all(PREFACE[:10])
        await closed(raw)


async def test_a_worker_that_vanishes_leaves_its_actor_in_order(loop: None) -> None:
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port:
        raw = Raw(await trio.open_tcp_stream("127.0.0.1", port))
        raw.http.send_headers(1, HEADERS)
        for said in (hello(), beat(1), beat(2)):
            for made in worker_to_wire(said):
                raw.http.send_data(1, message(bytes(made)))
        await raw.flush()
        await hub.until(lambda: len(hub.heard) == 2)
        await trio.aclose_forcefully(raw.stream)
        await hub.until(lambda: hub.left == 1)


async def test_a_stream_that_is_reset_ends_its_link(loop: None) -> None:
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port:
        raw = Raw(await trio.open_tcp_stream("127.0.0.1", port))
        raw.http.send_headers(1, HEADERS)
        [made] = worker_to_wire(hello())
        raw.http.send_data(1, message(bytes(made)))
        await raw.flush()
        await hub.until(lambda: len(hub.ends) == 1)
        raw.http.reset_stream(1)
        await raw.flush()
        await hub.until(lambda: hub.left == 1)
        await raw.stream.aclose()


async def test_the_loop_survives_a_protocol_that_raises(loop: None, caplog: pytest.LogCaptureFixture) -> None:
    """The wall behind ours: an error in any connection's callback costs that connection."""

    class Broken(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise NotImplementedError("a frame of an unknown kind")

    async def serve() -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(Broken, "127.0.0.1", 0)

    server = await aio_as_trio(serve)()
    try:
        for _ in range(2):
            async with await trio.open_tcp_stream("127.0.0.1", server.sockets[0].getsockname()[1]) as stream:
                await stream.send_all(b"x")
                with trio.fail_after(3):
                    try:
                        assert await stream.receive_some() == b""
                    except trio.BrokenResourceError:
                        pass
        assert "a connection was dropped" in caplog.text
    finally:
        server.close()
