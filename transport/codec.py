"""Link messages ↔ their published form. Pure.

Whoever decodes must expect CodecError, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, TypeVar

from actors.model import link as model
from actors.model.columns import Verdict
from actors.model.lease import LeaseTerms
from actors.model.worker import HandlerInfo, WorkerInfo
from protos.generated.callboard import v1 as wire
from transport.columns import (
    MAX_BODIES,
    CodecError,
    assign_from_wire,
    assign_to_wire,
    attempts_from_wire,
    attempts_to_wire,
    one_key,
    pack,
    report_from_wire,
    report_to_wire,
    same_length,
    split_assignment,
    unpack,
)

TERMS = ("heartbeat", "missed", "reconnect_delay", "connect_limit", "renewal", "lease", "margin", "grace", "ack_window")
MAX_SESSION = 2**63  # sessions are bigint


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
        oldest_protocol=hello.oldest_protocol,
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
    if message.session >= MAX_SESSION:
        raise CodecError(f"there is no session {message.session}")
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
        oldest_protocol=message.oldest_protocol,
    )


def welcome_to_wire(welcome: model.Welcome) -> wire.Welcome:
    return wire.Welcome(
        session=welcome.session,
        epoch=welcome.epoch,
        terms=wire.LeaseTerms(**{name: getattr(welcome.terms, name) for name in TERMS}),
        coordinators=list(welcome.coordinators),
        stop=attempts_to_wire(welcome.stop),
        resumed=welcome.resumed,
        protocol=welcome.protocol,
        unnamed=attempts_to_wire(welcome.unnamed),
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
        protocol=message.protocol or 1,
        unnamed=attempts_from_wire(message.unnamed),
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
    model.Draining: ("draining", lambda m: wire.Draining()),
    model.Goodbye: ("goodbye", lambda m: wire.Goodbye(moving=m.moving)),
    model.Tree: ("tree", lambda m: wire.Tree(json=m.json)),
    model.Unsupported: ("unsupported", lambda m: wire.Unsupported(detail=m.detail)),
}


def _split_progress(message: model.Progress) -> Iterator[model.Progress]:
    """Parts of at most MAX_BODIES of text; a longer single one is a part of its own."""
    part: list[tuple[int, int, str]] = []
    size = 0
    for value in message.values:
        length = len(value[2]) * 4  # a character takes at most four bytes
        if part and size + length > MAX_BODIES:
            yield model.Progress(part)
            part, size = [], 0
        part.append(value)
        size += length
    if part:
        yield model.Progress(part)


def _progress_to_wire(message: model.Progress) -> wire.Progress:
    return wire.Progress(
        ids=pack("q", [task for task, _, _ in message.values]),
        attempts=pack("i", [attempt for _, attempt, _ in message.values]),
        values=[text for _, _, text in message.values],
    )


def _progress_from_wire(message: wire.Progress) -> model.Progress:
    ids, attempts = unpack("q", message.ids), unpack("i", message.attempts)
    same_length(ids, attempts, message.values)
    return model.Progress(list(zip(ids, attempts, message.values, strict=True)))


_FROM_WORKER: dict[str, Callable[[Any], model.WorkerMessage]] = {
    "hello": hello_from_wire,
    "heartbeat": lambda m: model.Heartbeat(
        sequence=m.sequence, running=m.running, loop_lag=m.loop_lag, health=_json_object(m.health, "health")
    ),
    "accepted": lambda m: model.Accepted(one_key(m.key), unpack("q", m.ids)),
    "started": lambda m: model.Started(attempts_from_wire(m.attempts)),
    "outcomes": report_from_wire,
    "progress": _progress_from_wire,
    "draining": lambda m: model.Draining(),
    "goodbye": lambda m: model.Goodbye(m.moving),
    "tree": lambda m: model.Tree(m.json),
    "unsupported": lambda m: model.Unsupported(m.detail),
}

_VERDICTS = {int(verdict): verdict for verdict in Verdict}

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


def worker_to_wire(message: model.WorkerMessage) -> Iterator[wire.WorkerMessage]:
    """One message, or several where one would be too large."""
    if isinstance(message, model.Progress):
        for part in _split_progress(message):
            yield wire.WorkerMessage(progress=_progress_to_wire(part))
        return
    name, convert = _WORKER[type(message)]
    yield wire.WorkerMessage(**{name: convert(message)})


def coordinator_to_wire(message: model.CoordinatorMessage) -> Iterator[wire.CoordinatorMessage]:
    """One message, or several where one would be too large."""
    if isinstance(message, model.Assign):
        for part in split_assignment(message.assignment):
            yield wire.CoordinatorMessage(assign=assign_to_wire(part))
        return
    name, convert = _COORDINATOR[type(message)]
    yield wire.CoordinatorMessage(**{name: convert(message)})


def worker_from_wire(message: wire.WorkerMessage) -> model.WorkerMessage:
    """Raises CodecError. A kind of message from a newer release becomes Unknown."""
    return _from_wire(message, _FROM_WORKER)


def coordinator_from_wire(message: wire.CoordinatorMessage) -> model.CoordinatorMessage:
    """Raises CodecError. A kind of message from a newer release becomes Unknown."""
    return _from_wire(message, _FROM_COORDINATOR)


M = TypeVar("M")


def _from_wire(message: Any, table: dict[str, Callable[[Any], M]]) -> M | model.Unsupported:
    for name, convert in table.items():
        body = getattr(message, name)
        if body is not None:
            try:
                return convert(body)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise CodecError(f"{name}: {error}") from error
    return model.Unknown("a message of a kind that this release does not know")
