"""HTTP/2 and gRPC as no library would speak them: headers, deadlines, methods; a link beside it goes on."""

from __future__ import annotations

import struct

import pytest
import trio
from h2.events import (
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hpack import Encoder

from tests.support.raw_http2 import HEADERS, PREFACE, SETTINGS, Raw, beside_a_link, frame, grpc_status, message
from transport import limits

Headers = list[tuple[str, str]]


def headers(**changes: str | None) -> Headers:
    """Those of a good call, with some changed or left out; a first underline stands for a colon."""
    wanted = {name.replace("_", ":", 1) if name.startswith("_") else name.replace("_", "-"): value
              for name, value in changes.items()}  # fmt: skip
    made = [(name, str(wanted.get(name, value))) for name, value in HEADERS if wanted.get(name, value) is not None]
    known = {name for name, _ in HEADERS}
    return made + [(name, str(value)) for name, value in wanted.items() if name not in known and value is not None]


async def still_answers(raw: Raw) -> None:
    raw.http.ping(b"12345678")
    await raw.flush()
    assert await raw.until(PingAckReceived) is not None


async def until_closed(raw: Raw) -> None:
    """The server closes or resets the connection; whatever it says before is not looked at."""
    with trio.fail_after(5):
        try:
            while await raw.stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass


async def send_until_closed(raw: Raw, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            await raw.stream.send_all(piece)
    except trio.BrokenResourceError:
        return
    await until_closed(raw)


async def answer_of(raw: Raw) -> dict[str, str]:
    """All headers and trailers of the first stream's answer."""
    found: dict[str, str] = {}
    raw.http.send_headers(1, HEADERS, end_stream=True)
    raw.http.data_to_send()  # what was sent in its place is known to the test
    with trio.fail_after(3):
        while True:
            for event in raw.http.receive_data(await raw.stream.receive_some()):
                found.update((str(name), str(value)) for name, value in getattr(event, "headers", None) or ())
                if isinstance(event, StreamEnded | StreamReset):
                    return found


# --- connections ----------------------------------------------------------------------------------


@pytest.mark.bad_input("GR05")
async def test_half_a_preface_and_then_silence_is_limited(loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_LIMIT", 0.2)
    async with beside_a_link() as connect:
        for sent in (b"", PREFACE[:10], PREFACE):
            raw = await connect()
            if sent:
                await raw.stream.send_all(sent)
            await until_closed(raw)


@pytest.mark.bad_input("GR07")
@pytest.mark.parametrize("provocation", ["zero window update", "data after the end"])
async def test_a_server_that_is_made_to_reset_streams_without_end_drops_the_connection(
    loop: None, provocation: str
) -> None:
    block = Encoder()
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        pieces = []
        for number in range(limits.MAX_RESETS * 3):
            stream = 2 * number + 1
            bad = frame(8, 0, stream, bytes(4)) if provocation == "zero window update" else frame(0, 0, stream, b"x")
            ends = 0 if provocation == "zero window update" else 1
            pieces.append(frame(1, 4 | ends, stream, block.encode(HEADERS)) + bad)
        await send_until_closed(raw, pieces)


@pytest.mark.bad_input("GR09")
@pytest.mark.faults
async def test_settings_without_end_cost_the_connection(loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNSENT", 64 * 1024)
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        with trio.fail_after(60), pytest.raises(trio.BrokenResourceError):
            while True:
                await raw.stream.send_all(SETTINGS * 2000)


@pytest.mark.bad_input("GR11")
@pytest.mark.parametrize("kind", ["64 KiB", "ten thousand", "a bomb"])
async def test_headers_that_are_too_large_cost_the_connection_or_the_stream(loop: None, kind: str) -> None:
    encoder = Encoder()
    if kind == "64 KiB":
        block = encoder.encode([*HEADERS, *((f"x-{n}", "y" * 1000) for n in range(66))], huffman=False)
    elif kind == "ten thousand":
        block = encoder.encode([*HEADERS, *((f"x-{n}", "y") for n in range(10_000))], huffman=False)
    else:  # one large header in the table, then named again and again by one byte each
        block = encoder.encode([*HEADERS, ("x-large", "y" * 3_900)], huffman=False) + b"\xbe" * 16_000
    parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    frames = [frame(1, 4 if len(parts) == 1 else 0, 1, parts[0])]
    frames += [frame(9, 4 if part is parts[-1] else 0, 1, part) for part in parts[1:]]
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        await send_until_closed(raw, frames)


# --- calls ----------------------------------------------------------------------------------------


@pytest.mark.bad_input("GR12")
async def test_24_mebibytes_of_a_message_are_never_kept(loop: None) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        raw.http.send_headers(1, HEADERS)
        raw.http.send_data(1, message(b"", length=24 * 1024 * 1024))
        await raw.flush()
        assert await grpc_status(raw) == "8"
        await still_answers(raw)


@pytest.mark.bad_input("GR13")
@pytest.mark.parametrize("flag", [1, 2, 255])
async def test_a_flag_that_nobody_announced_ends_its_stream(loop: None, flag: int) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        raw.http.send_headers(1, HEADERS)
        raw.http.send_data(1, message(b"", flag=flag))
        await raw.flush()
        assert int(await grpc_status(raw)) in (3, 12, 13)
        await still_answers(raw)


def nested(depth: int) -> bytes:
    """A message within a message, a thousand deep, by groups of an unknown field."""
    return b"\x0b" * depth + b"\x0c" * depth


@pytest.mark.bad_input("GR15")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello, this is no protobuf", "3"),
        (b"\x0a\x05abc", "3"),
        (nested(1_000), "3"),
        (b"\x0a\x04\x12\x02\xff\xfe", "3"),  # a text that is not UTF-8
    ],
    ids=["text", "cut", "nested", "not UTF-8"],
)
async def test_a_message_that_is_none_ends_its_stream_and_nothing_else(loop: None, data: bytes, status: str) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        raw.http.send_headers(1, HEADERS)
        raw.http.send_data(1, message(data), end_stream=True)
        await raw.flush()
        assert await grpc_status(raw) == status
        await still_answers(raw)


@pytest.mark.bad_input("GR22")
@pytest.mark.parametrize("timeout", ["", "5", "soon", "-1S", "999999999S", "1X", "0S", "99999999H", "1.5S"])
async def test_an_odd_deadline_costs_its_call_at_most(loop: None, timeout: str) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        raw.http.send_headers(1, headers(grpc_timeout=timeout), end_stream=False)
        raw.http.send_data(1, message(b"\xff\xff\xff"))
        await raw.flush()
        event = await raw.until(TrailersReceived, StreamReset, ResponseReceived)
        assert event is not None
        await still_answers(raw)


@pytest.mark.bad_input("GR23")
@pytest.mark.parametrize(
    "changes",
    [
        {"_path": "/nothing"},
        {"_path": "/callboard.v1.WorkerLink/Nothing"},
        {"_path": "/callboard.v1.WorkerLink/Connect/../.."},
        {"_path": "/" + "x" * 8_000},
        {"_method": "GET"},
        {"_method": "PUT"},
        {"content_type": "text/plain"},
        {"content_type": None},
        {"content_type": "application/grpc+json"},
        {"te": None},
        {"te": "gzip"},
    ],
    ids=lambda changes: " ".join(f"{name}={str(value)[:40]}" for name, value in changes.items()),
)
async def test_what_is_no_call_is_answered_as_grpc_says(loop: None, changes: dict[str, str | None]) -> None:
    async with beside_a_link() as connect:
        raw = await connect()
        await raw.flush()
        await raw.stream.send_all(frame(1, 5, 1, Encoder().encode(headers(**changes))))
        found = await answer_of(raw)
        assert found[":status"] in ("200", "404", "405", "415", "400")
        assert found[":status"] != "200" or int(found["grpc-status"]) > 0
        assert "Traceback" not in repr(found)
        await still_answers(raw)


@pytest.mark.bad_input("GR01", "GR04")
async def test_random_frames_end_at_most_their_connection(loop: None) -> None:
    async with beside_a_link() as connect:
        for kind in range(0, 14):
            for payload in (b"", b"\0" * 4, b"\xff" * 8, struct.pack(">I", 2**31) * 3):
                raw = await connect()
                await raw.flush()
                try:
                    await raw.stream.send_all(frame(kind, 0xFF, 1, payload) + frame(kind, 0, 0, payload))
                except trio.BrokenResourceError:
                    pass
