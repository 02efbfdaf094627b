"""Frames between a node and its executors: what was sent arrives, however it was cut; what is no frame is refused."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.executor.frames import (
    LIMIT,
    Boot,
    Cutter,
    Deadline,
    Declared,
    Done,
    FrameError,
    Leave,
    Ping,
    Pong,
    Progress,
    Ready,
    Run,
    Serving,
    Started,
    Stop,
    encode,
    for_executor,
    for_node,
)

BUDGET = settings(max_examples=200, deadline=None, derandomize=True, database=None)
TO_EXECUTOR = [
    Boot(["a.py"], 4, 1.5, 2.0), Run(b"k" * 16, [1, 2**62], [1, 2], ["f"], [0, 0], [0, 5], [2, 2], b"{}{}"),
    Stop([1], "cancelled"), Deadline(None), Deadline(1e9), Ping(7), Leave(),
]  # fmt: skip
TO_NODE = [
    Ready([Declared("f", None, 3, 1.5, {"base": 1}, {"x": "int"}, False)]),
    Done(b"k" * 16, [1], [1], [0], [4], b"null"), Started([1, 2]), Progress(1, 1, "{}"), Serving(1, 1, "/s"),
    Pong(7, 0, 0.0),
]  # fmt: skip
SEEDS = [msgspec.msgpack.encode(frame) for frame in [*TO_EXECUTOR, *TO_NODE]]


@BUDGET
@given(st.lists(st.sampled_from(TO_NODE), max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_frames_arrive_however_the_stream_is_cut(sent: list[Done], sizes: list[int]) -> None:
    stream, cutter, got, at, step = b"".join(map(encode, sent)), Cutter(), list[object](), 0, 0
    while at < len(stream):
        size = sizes[step % len(sizes)]
        got += map(for_node, cutter.feed(stream[at : at + size]))
        at, step = at + size, step + 1
    assert got == sent


@pytest.mark.parametrize("frame", TO_EXECUTOR, ids=lambda frame: type(frame).__name__)
def test_what_a_node_says_arrives_as_it_was(frame: Run) -> None:
    assert [for_executor(body) for body in Cutter().feed(encode(frame))] == [frame]


@BUDGET
@given(st.binary(max_size=60) | st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255))))
def test_any_bytes_are_a_frame_or_a_frame_error(data: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for at, value in changes[:4]:
        if changed:
            changed[at % len(changed)] = value
    for read in (for_executor, for_node):
        try:
            assert isinstance(read(bytes(changed)), msgspec.Struct)
        except FrameError as error:
            must_be_short(error)


def must_be_short(error: FrameError) -> None:
    assert 0 < len(str(error)) < 300


@pytest.mark.parametrize(
    "body", [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xffx", b"\x92\x01\xa2\xff\xfe", b""],
    ids=["nested", "a long array", "a long text", "not UTF-8", "empty"],
)  # fmt: skip
def test_a_body_that_promises_too_much_is_refused(body: bytes) -> None:
    for read in (for_executor, for_node):
        with pytest.raises(FrameError):
            read(body)


def test_a_length_beyond_the_limit_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(FrameError, match="at most"):
        list(Cutter().feed(struct.pack(">I", LIMIT + 1)))
