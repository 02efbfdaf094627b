"""Link messages ↔ their published form. Pure.

Columns of integers travel as little-endian bytes, made and read by `array` at C speed.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import accumulate
from typing import Any

from actors.model import link as model
from actors.model.columns import Assignment, Outcomes, Verdict
from actors.model.lease import LeaseTerms
from actors.model.worker import HandlerInfo, Held, WorkerInfo
from protos.generated.callboard import v1 as wire

KEY = 16  # bytes of a lease key
MAX_PAYLOAD = 64 * 1024  # bytes of payload in one Assign, so that heartbeats pass

TERMS = ("heartbeat", "missed", "reconnect_delay", "connect_limit", "renewal", "lease", "margin", "grace")


class CodecError(Exception):
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


def pack_keys(keys: Sequence[bytes]) -> bytes:
    return b"".join(keys)


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


# --- attempts -------------------------------------------------------------------------------------


def attempts_to_wire(held: Sequence[Held]) -> wire.Attempts:
    places: dict[bytes, int] = {}
    index = [places.setdefault(one.lease_key, len(places)) for one in held]
    return wire.Attempts(
        ids=pack("q", [one.task_id for one in held]),
        attempts=pack("i", [one.attempt for one in held]),
        keys=pack_keys(list(places)),
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


def split_assignment(whole: Assignment, limit: int = MAX_PAYLOAD) -> Iterator[Assignment]:
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
        lease_key=bytes(message.key),
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
    if not made.ids or len(made.lease_key) != KEY or sum(made.sizes) != len(made.payloads):
        raise CodecError("an assignment needs tasks, a key of 16 bytes, and sizes that add up to its payloads")
    return made


# --- outcomes -------------------------------------------------------------------------------------


def report_to_wire(report: model.Report) -> wire.Outcomes:
    columns = report.outcomes
    return wire.Outcomes(
        sequence=report.sequence,
        keys=pack_keys(columns.keys),
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
    below(columns.kinds, 9, "kind")
    if sum(columns.sizes) != len(columns.bodies):
        raise CodecError("the sizes of outcomes do not add up to their bodies")
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


# --- hello and welcome ----------------------------------------------------------------------------


def _handler_to_wire(handler: HandlerInfo) -> wire.Handler:
    return wire.Handler(
        name=handler.name,
        queue=handler.queue or "",
        max_tries=handler.max_tries or 0,
        timeout=handler.timeout or 0.0,
        backoff=json.dumps(dict(handler.backoff)) if handler.backoff else "",
        args=json.dumps(dict(handler.args)),
    )


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CodecError(f"{what} must be a JSON object")
    return value


def _handler_from_wire(message: wire.Handler) -> HandlerInfo:
    return HandlerInfo(
        name=message.name,
        queue=message.queue or None,
        max_tries=message.max_tries or None,
        timeout=message.timeout or None,
        backoff=_json_object(message.backoff, "backoff") if message.backoff else None,
        args=_json_object(message.args, "args"),
    )


def hello_to_wire(hello: model.Hello) -> wire.Hello:
    worker = hello.worker
    return wire.Hello(
        protocol=hello.protocol,
        worker=worker.id,
        name=worker.name,
        version=worker.version,
        slots=worker.slots,
        queues=list(worker.queues),
        handlers=[_handler_to_wire(handler) for handler in worker.handlers],
        labels=dict(worker.labels),
        http_address=worker.http_address or "",
        secret=hello.secret,
        session=hello.session,
        running=attempts_to_wire(hello.running),
        token=hello.token,
    )


def hello_from_wire(message: wire.Hello) -> model.Hello:
    return model.Hello(
        worker=WorkerInfo(
            id=message.worker,
            name=message.name,
            slots=message.slots,
            queues=list(message.queues),
            handlers=[_handler_from_wire(handler) for handler in message.handlers],
            labels=dict(message.labels),
            version=message.version,
            http_address=message.http_address or None,
        ),
        secret=bytes(message.secret),
        session=message.session,
        running=attempts_from_wire(message.running),
        token=message.token,
        protocol=message.protocol,
    )


def welcome_to_wire(welcome: model.Welcome) -> wire.Welcome:
    return wire.Welcome(
        session=welcome.session,
        epoch=welcome.epoch,
        terms=wire.LeaseTerms(**{name: getattr(welcome.terms, name) for name in TERMS}),
        coordinators=list(welcome.coordinators),
        stop=attempts_to_wire(welcome.stop),
        resumed=welcome.resumed,
    )


def welcome_from_wire(message: wire.Welcome) -> model.Welcome:
    terms = LeaseTerms(**{name: getattr(message.terms, name) for name in TERMS}) if message.terms else LeaseTerms()
    if terms.violations():
        raise CodecError(f"lease terms are unsound: {terms.violations()[0]}")
    return model.Welcome(
        session=message.session,
        epoch=message.epoch,
        terms=terms,
        coordinators=list(message.coordinators),
        stop=attempts_from_wire(message.stop),
        resumed=message.resumed,
    )


# --- whole messages: one entry a kind -------------------------------------------------------------

_WORKER: dict[type, tuple[str, Callable[[Any], Any]]] = {
    model.Hello: ("hello", hello_to_wire),
    model.Heartbeat: (
        "heartbeat",
        lambda m: wire.Heartbeat(
            sequence=m.sequence, running=m.running, loop_lag=m.loop_lag, health=json.dumps(dict(m.health))
        ),
    ),
    model.Accepted: ("accepted", lambda m: wire.Accepted(key=m.key, ids=pack("q", m.ids))),
    model.Started: ("started", lambda m: wire.Started(attempts=attempts_to_wire(m.attempts))),
    model.Report: ("outcomes", report_to_wire),
    model.Progress: (
        "progress",
        lambda m: wire.Progress(
            ids=pack("q", [task for task, _, _ in m.values]),
            attempts=pack("i", [attempt for _, attempt, _ in m.values]),
            values=[text for _, _, text in m.values],
        ),
    ),
    model.Draining: ("draining", lambda m: wire.Draining()),
    model.Goodbye: ("goodbye", lambda m: wire.Goodbye(moving=m.moving)),
    model.Tree: ("tree", lambda m: wire.Tree(json=m.json)),
    model.Unsupported: ("unsupported", lambda m: wire.Unsupported(detail=m.detail)),
}


def _progress(message: wire.Progress) -> model.Progress:
    ids, attempts = unpack("q", message.ids), unpack("i", message.attempts)
    same_length(ids, attempts, message.values)
    return model.Progress(list(zip(ids, attempts, message.values, strict=True)))


_FROM_WORKER: dict[str, Callable[[Any], model.WorkerMessage]] = {
    "hello": hello_from_wire,
    "heartbeat": lambda m: model.Heartbeat(
        sequence=m.sequence, running=m.running, loop_lag=m.loop_lag, health=_json_object(m.health, "health")
    ),
    "accepted": lambda m: model.Accepted(bytes(m.key), unpack("q", m.ids)),
    "started": lambda m: model.Started(attempts_from_wire(m.attempts)),
    "outcomes": report_from_wire,
    "progress": _progress,
    "draining": lambda m: model.Draining(),
    "goodbye": lambda m: model.Goodbye(m.moving),
    "tree": lambda m: model.Tree(m.json),
    "unsupported": lambda m: model.Unsupported(m.detail),
}

_COORDINATOR: dict[type, tuple[str, Callable[[Any], Any]]] = {
    model.Welcome: ("welcome", welcome_to_wire),
    model.Assign: ("assign", lambda m: assign_to_wire(m.assignment)),
    model.Cancel: ("cancel", lambda m: wire.Cancel(attempts=attempts_to_wire(m.attempts), reason=m.reason)),
    model.HeartbeatReply: (
        "heartbeat_reply",
        lambda m: wire.HeartbeatReply(
            **{one.name: getattr(m, one.name) for one in fields(m) if one.name not in ("lease", "coordinators")},
            lease=wire.HeartbeatReplyLease(int(m.lease)),
            coordinators=list(m.coordinators),
        ),
    ),
    model.Committed: (
        "outcomes_committed",
        lambda m: wire.OutcomesCommitted(sequence=m.sequence, verdicts=bytes(m.verdicts)),
    ),
    model.Drain: ("drain", lambda m: wire.Drain(reason=m.reason)),
    model.Reject: ("reject", lambda m: wire.Reject(reason=m.reason, retry=m.retry)),
    model.Pause: ("pause", lambda m: wire.Pause(paused=m.paused)),
    model.Unsupported: ("unsupported", lambda m: wire.Unsupported(detail=m.detail)),
}

_FROM_COORDINATOR: dict[str, Callable[[Any], model.CoordinatorMessage]] = {
    "welcome": welcome_from_wire,
    "assign": lambda m: model.Assign(assign_from_wire(m)),
    "cancel": lambda m: model.Cancel(attempts_from_wire(m.attempts), m.reason),
    "heartbeat_reply": lambda m: model.HeartbeatReply(
        sequence=m.sequence,
        lease=model.Lease(int(m.lease)),
        confirmed=m.confirmed,
        coordinators=list(m.coordinators),
        database_ok=m.database_ok,
        database_age=m.database_age,
    ),
    "outcomes_committed": lambda m: model.Committed(m.sequence, [_VERDICTS[byte] for byte in m.verdicts]),
    "drain": lambda m: model.Drain(m.reason),
    "reject": lambda m: model.Reject(m.reason, m.retry),
    "pause": lambda m: model.Pause(m.paused),
    "unsupported": lambda m: model.Unsupported(m.detail),
}
_VERDICTS = {int(verdict): verdict for verdict in Verdict}


def worker_to_wire(message: model.WorkerMessage) -> Iterator[wire.WorkerMessage]:
    """One message, or several where one would be too large."""
    name, convert = _WORKER[type(message)]
    yield wire.WorkerMessage(**{name: convert(message)})


def coordinator_to_wire(message: model.CoordinatorMessage) -> Iterator[wire.CoordinatorMessage]:
    if isinstance(message, model.Assign):
        for part in split_assignment(message.assignment):
            yield wire.CoordinatorMessage(assign=assign_to_wire(part))
        return
    name, convert = _COORDINATOR[type(message)]
    yield wire.CoordinatorMessage(**{name: convert(message)})


def worker_from_wire(message: wire.WorkerMessage) -> model.WorkerMessage:
    """Raises CodecError. A kind of message from a newer release becomes Unsupported."""
    return _from_wire(message, _FROM_WORKER)  # type: ignore[return-value]  # the table above gives no other kind


def coordinator_from_wire(message: wire.CoordinatorMessage) -> model.CoordinatorMessage:
    return _from_wire(message, _FROM_COORDINATOR)  # type: ignore[return-value]  # as above


def _from_wire(message: Any, table: dict[str, Callable[[Any], Any]]) -> Any:
    for name, convert in table.items():
        body = getattr(message, name)
        if body is not None:
            try:
                return convert(body)
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise CodecError(f"{name}: {error}") from error
    return model.Unsupported("a message of a kind that this release does not know")
