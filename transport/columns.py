"""Columns ↔ their published form. Pure.

Columns of integers travel as little-endian bytes, made and read by `array` at C speed.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from actors.model import link as model
from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.errors import CallboardError
from actors.model.worker import Held
from protos.generated.callboard import v1 as wire

KEY = 16  # bytes of a lease key
MAX_BODIES = 64 * 1024  # bytes of payload in one message of a stream, so that heartbeats pass
KINDS = len(Outcome)


class CodecError(CallboardError):
    """A message that does not fit the contract; ends its stream and nothing else."""


def pack(kind: str, numbers: Sequence[int]) -> bytes:
    """A column: "q" int64, "i" int32, "I" uint32."""
    column = array(kind, numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def unpack(kind: str, data: bytes) -> list[int]:
    column = array(kind)
    try:
        column.frombytes(data)
    except ValueError:
        raise CodecError(f"a column of {len(data)} bytes does not hold whole numbers of {column.itemsize}") from None
    if sys.byteorder == "big":
        column.byteswap()
    return column.tolist()


def unpack_keys(data: bytes) -> list[bytes]:
    if len(data) % KEY:
        raise CodecError(f"lease keys take {KEY} bytes each, got {len(data)} bytes")
    return [data[start : start + KEY] for start in range(0, len(data), KEY)]


def same_length(*columns: Sequence[Any]) -> None:
    if len({len(column) for column in columns}) > 1:
        raise CodecError(f"columns differ in length: {[len(column) for column in columns]}")


def below(index: Sequence[int], limit: int, what: str) -> None:
    if index and max(index) >= limit:
        raise CodecError(f"{what} {max(index)} is out of range: there are {limit}")


def one_key(data: bytes) -> bytes:
    if len(data) != KEY:
        raise CodecError(f"a lease key has {KEY} bytes, got {len(data)}")
    return bytes(data)


# --- attempts -------------------------------------------------------------------------------------


def attempts_to_wire(held: Sequence[Held]) -> wire.Attempts:
    places: dict[bytes, int] = {}
    index = [places.setdefault(one.lease_key, len(places)) for one in held]
    return wire.Attempts(
        ids=pack("q", [one.task_id for one in held]),
        attempts=pack("i", [one.attempt for one in held]),
        keys=b"".join(places),
        key_index=pack("I", index),
    )


def attempts_from_wire(message: wire.Attempts | None) -> list[Held]:
    if message is None:
        return []
    ids, attempts, index = unpack("q", message.ids), unpack("i", message.attempts), unpack("I", message.key_index)
    keys = unpack_keys(message.keys)
    same_length(ids, attempts, index)
    below(index, len(keys), "key_index")
    return [Held(task, attempt, keys[which]) for task, attempt, which in zip(ids, attempts, index, strict=True)]


# --- assignments ----------------------------------------------------------------------------------


def split_assignment(whole: Assignment, limit: int = MAX_BODIES) -> Iterator[Assignment]:
    """Cuts an assignment so that no part carries more than `limit` bytes, if it has more than one task."""
    if len(whole.payloads) <= limit:
        yield whole
        return
    start, begin, size, offset = 0, 0, 0, 0
    for index, length in enumerate([*whole.sizes, limit + 1]):
        if index > start and size + length > limit:
            yield replace(
                whole,
                ids=whole.ids[start:index],
                attempts=whole.attempts[start:index],
                name_index=whole.name_index[start:index],
                timeouts=whole.timeouts[start:index],
                flags=whole.flags[start:index],
                sizes=whole.sizes[start:index],
                payloads=whole.payloads[begin:offset],
            )
            start, begin, size = index, offset, 0
        size += length
        offset += length


def assign_to_wire(part: Assignment) -> wire.Assign:
    return wire.Assign(
        key=part.lease_key,
        epoch=part.epoch,
        ids=pack("q", part.ids),
        attempts=pack("i", part.attempts),
        names=part.names,
        name_index=pack("I", part.name_index),
        timeouts=pack("I", part.timeouts),
        flags=pack("I", part.flags),
        sizes=pack("I", part.sizes),
        payloads=part.payloads,
    )


def assign_from_wire(message: wire.Assign) -> Assignment:
    made = Assignment(
        lease_key=one_key(message.key),
        ids=unpack("q", message.ids),
        attempts=unpack("i", message.attempts),
        names=list(message.names),
        name_index=unpack("I", message.name_index),
        timeouts=unpack("I", message.timeouts),
        flags=unpack("I", message.flags),
        sizes=unpack("I", message.sizes),
        payloads=bytes(message.payloads),
        epoch=message.epoch,
    )
    same_length(made.ids, made.attempts, made.name_index, made.timeouts, made.flags, made.sizes)
    below(made.name_index, len(made.names), "name_index")
    if not made.ids or sum(made.sizes) != len(made.payloads):
        raise CodecError("an assignment needs tasks, and sizes that add up to its payloads")
    return made


# --- outcomes -------------------------------------------------------------------------------------


def report_to_wire(report: model.Report) -> wire.Outcomes:
    columns = report.outcomes
    return wire.Outcomes(
        sequence=report.sequence,
        keys=b"".join(columns.keys),
        key_index=pack("I", columns.key_index),
        ids=pack("q", columns.ids),
        attempts=pack("i", columns.attempts),
        kinds=pack("I", columns.kinds),
        sizes=pack("I", columns.sizes),
        bodies=columns.bodies,
    )


def report_from_wire(message: wire.Outcomes) -> model.Report:
    columns = Outcomes(
        keys=unpack_keys(message.keys),
        key_index=unpack("I", message.key_index),
        ids=unpack("q", message.ids),
        attempts=unpack("i", message.attempts),
        kinds=unpack("I", message.kinds),
        sizes=unpack("I", message.sizes),
        bodies=bytes(message.bodies),
    )
    same_length(columns.ids, columns.attempts, columns.key_index, columns.kinds, columns.sizes)
    below(columns.key_index, len(columns.keys), "key_index")
    below(columns.kinds, KINDS, "kind")
    if not columns.ids or sum(columns.sizes) != len(columns.bodies):
        raise CodecError("a report needs outcomes, and sizes that add up to their bodies")
    _check_text(columns)
    return model.Report(message.sequence, columns)


def _check_text(columns: Outcomes) -> None:
    """Bodies must be UTF-8, cut at the sizes: checked here, so that one worker's bytes never fail a group's commit."""
    try:
        text = columns.bodies.decode()
    except UnicodeDecodeError:
        raise CodecError("the body of an outcome is not UTF-8") from None
    if len(text) != len(columns.bodies):
        for end in accumulate(columns.sizes):
            if end < len(columns.bodies) and columns.bodies[end] & 0xC0 == 0x80:
                raise CodecError("the size of an outcome cuts a character")
