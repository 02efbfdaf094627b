"""Arguments and outcomes above 64 KiB, which travel beside the stream. Pure.

The coordinator's end keeps such a payload and announces it by a flag; the worker's end fetches it and gives the
worker the whole assignment. Actors see none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from actors.model import link as model
from actors.model.columns import Assignment, Outcomes, split_blob
from actors.model.worker import Held
from protos.generated.callboard import v1 as wire
from transport.columns import KINDS, MAX_BODIES, CodecError, one_key

FETCH = 4  # flag of a task whose payload must be fetched


def cut_large(whole: Assignment, limit: int = MAX_BODIES) -> tuple[Assignment, dict[Held, bytes]]:
    """The assignment without payloads of more than `limit` bytes, and those payloads."""
    if len(whole.payloads) <= limit or max(whole.sizes) <= limit:
        return whole, {}
    payloads = split_blob(whole.sizes, whole.payloads)
    flags, kept = list(whole.flags), {}
    for index, size in enumerate(whole.sizes):
        if size > limit:
            kept[Held(whole.ids[index], whole.attempts[index], whole.lease_key)] = payloads[index]
            payloads[index] = b""
            flags[index] |= FETCH
    return replace(whole, flags=flags, sizes=[len(one) for one in payloads], payloads=b"".join(payloads)), kept


def to_fetch(part: Assignment) -> list[Held]:
    """What must be fetched before the worker may have the assignment."""
    return [
        Held(task, attempt, part.lease_key)
        for task, attempt, flags in zip(part.ids, part.attempts, part.flags, strict=True)
        if flags & FETCH
    ]


def fill_large(part: Assignment, fetched: Mapping[Held, bytes]) -> Assignment:
    """The whole assignment again, the flag cleared."""
    payloads = [
        fetched.get(Held(task, attempt, part.lease_key), payload)
        for task, attempt, payload in zip(part.ids, part.attempts, split_blob(part.sizes, part.payloads), strict=True)
    ]
    return replace(
        part,
        flags=[flags & ~FETCH for flags in part.flags],
        sizes=[len(one) for one in payloads],
        payloads=b"".join(payloads),
    )


def is_large(report: model.Report, limit: int = MAX_BODIES) -> bool:
    """Whether a report travels by StoreResult; it holds one outcome then, for reports are cut at the same limit."""
    return len(report.outcomes.bodies) > limit and len(report.outcomes) == 1


def result_to_wire(report: model.Report, session: int, secret: bytes) -> wire.LargeResult:
    columns = report.outcomes
    return wire.LargeResult(
        session=session,
        secret=secret,
        id=columns.ids[0],
        attempt=columns.attempts[0],
        key=columns.keys[columns.key_index[0]],
        kind=columns.kinds[0],
        body=columns.bodies,
        sequence=report.sequence,
    )


def result_from_wire(message: wire.LargeResult) -> model.Report:
    if message.kind >= KINDS:
        raise CodecError(f"kind {message.kind} is out of range: there are {KINDS}")
    try:
        message.body.decode()
    except UnicodeDecodeError:
        raise CodecError("the body of an outcome is not UTF-8") from None
    return model.Report(
        message.sequence,
        Outcomes(
            keys=[one_key(message.key)],
            key_index=[0],
            ids=[message.id],
            attempts=[message.attempt],
            kinds=[message.kind],
            sizes=[len(message.body)],
            bodies=bytes(message.body),
        ),
    )
