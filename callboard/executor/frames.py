"""What a worker node and its executors say to each other over their socket pair.

A frame is four bytes of length, big-endian, and one msgpack array of the structs below: the first element is
the tag. Tasks and outcomes travel as the parallel columns that came over the wire, so that a node passes a batch
on without looking into it. Identity of an attempt is (task id, attempt, lease key).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

LIMIT = 64 * 1024 * 1024  # bytes of one frame; more means that the other side is broken


# --- node → executor ------------------------------------------------------------------------------


class Boot(msgspec.Struct, array_like=True, tag=0, frozen=True):
    """First frame: what to import, and how much may run at once."""

    apps: list[str]  # module names, or absolute paths of Python files
    slots: int
    start_limit: float  # seconds after which an attempt that found no slot is handed back (released)
    stop_after: float  # seconds after the deadline at which the process ends itself by force


class Run(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Start these. All lists have one entry a task; see actors.model.columns.Assignment."""

    key: bytes
    ids: list[int]
    attempts: list[int]
    names: list[str]
    name_index: list[int]
    timeouts: list[int]  # milliseconds; 0 = none
    sizes: list[int]
    payloads: bytes  # JSON objects back to back


class Stop(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Cancel these attempts; `reason` is "cancelled", "lease", "drain" or "session"."""

    ids: list[int]
    reason: str


class Deadline(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """CLOCK_BOOTTIME instant at which everything must have stopped; None: no lease, nothing may run."""

    at: float | None


class Ping(msgspec.Struct, array_like=True, tag=4, frozen=True):
    number: int


class Leave(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """End, now; what runs was stopped before."""


# --- executor → node ------------------------------------------------------------------------------


class Declared(msgspec.Struct, array_like=True, frozen=True):
    """A handler, as its decorator declares it; None where it says nothing."""

    name: str
    queue: str | None
    max_tries: int | None
    timeout: float | None  # seconds
    backoff: dict[str, Any] | None  # {"kind", "base", "cap", "jitter"}
    args: dict[str, str]  # argument → type, for people
    isolated: bool  # wants an executor of its own


class Ready(msgspec.Struct, array_like=True, tag=0, frozen=True):
    """Everything was imported."""

    handlers: list[Declared]


class Broken(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Something could not be imported; the process ends."""

    problem: str


class Done(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Outcomes of attempts of one claim."""

    key: bytes
    ids: list[int]
    attempts: list[int]
    kinds: list[int]  # actors.model.columns.Outcome
    sizes: list[int]
    bodies: bytes  # JSON back to back: a result, or {"type", "message", "traceback", "evidence", "after", "until"}


class Started(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """These have started and not yet ended. Short attempts end without one."""

    ids: list[int]


class Progress(msgspec.Struct, array_like=True, tag=4, frozen=True):
    id: int
    attempt: int
    value: str  # JSON {"done", "total", "message"}


class Serving(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """The attempt's own HTTP server listens on this unix socket; an empty path: no longer."""

    id: int
    attempt: int
    path: str


class Pong(msgspec.Struct, array_like=True, tag=6, frozen=True):
    number: int
    running: int
    lag: float  # seconds by which its loop was late


ToExecutor = Boot | Run | Stop | Deadline | Ping | Leave
ToNode = Ready | Broken | Done | Started | Progress | Serving | Pong

_encoder = msgspec.msgpack.Encoder()
_to_executor = msgspec.msgpack.Decoder(ToExecutor)
_to_node = msgspec.msgpack.Decoder(ToNode)


class FrameError(Exception):
    """The other side sent what is no frame."""


def encode(frame: ToExecutor | ToNode) -> bytes:
    """The frame with its length before it."""
    body = _encoder.encode(frame)
    return struct.pack(">I", len(body)) + body


def for_executor(body: bytes) -> ToExecutor:
    """Raises FrameError."""
    try:
        frame: ToExecutor = _to_executor.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: a text that is not UTF-8
        raise FrameError(str(error)) from None
    return frame


def for_node(body: bytes) -> ToNode:
    """Raises FrameError."""
    try:
        frame: ToNode = _to_node.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: a text that is not UTF-8
        raise FrameError(str(error)) from None
    return frame


class Cutter:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are whole now. Raises FrameError for a length beyond LIMIT."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= 4:
            (size,) = struct.unpack_from(">I", self._buffer, start)
            if size > LIMIT:
                raise FrameError(f"a frame of {size} bytes; at most {LIMIT} are allowed")
            if len(self._buffer) - start - 4 < size:
                break
            yield bytes(self._buffer[start + 4 : start + 4 + size])
            start += 4 + size
        del self._buffer[:start]
