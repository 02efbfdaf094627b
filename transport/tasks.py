"""Tasks ↔ their published form, with the rules for what a submission may be. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import fields
from datetime import datetime
from typing import Any

from actors.model.errors import BadValue
from actors.model.ports import TaskFilter
from actors.model.task import DEFAULT_PRIORITY, SHOWN_STATES, NewTask, Task, shown_state
from protos.generated.callboard import v1 as wire

MAX_ARGS = 256 * 1024  # bytes of JSON
MAX_NAME = 200  # characters of names, queues, tags, keys
MAX_ID = 2**63
MAX_SECONDS = 10 * 365 * 86_400.0
MAX_PAGE, DEFAULT_PAGE = 500, 50
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # escaped, unless its backslash is itself escaped


def time_text(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def json_text(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- submissions ----------------------------------------------------------------------------------


def new_task_to_wire(task: NewTask) -> wire.NewTask:
    return wire.NewTask(
        name=task.name,
        args=task.args,
        queue=task.queue,
        priority=task.priority,
        run_at=time_text(task.run_at) or None,
        delay=task.delay,
        timeout=task.timeout,
        max_tries=task.max_tries,
        backoff=json_text(task.backoff) or None,
        expires_at=time_text(task.expires_at) or None,
        exclusive=task.exclusive,
        retry_on_crash=task.retry_on_crash,
        tags=list(task.tags),
        metadata=dict(task.metadata),
        idempotency_key=task.idempotency_key,
        submitted_by=task.submitted_by,
    )


def new_task_from_wire(message: wire.NewTask) -> NewTask:
    """Raises BadValue, which names the field."""
    if message.run_at is not None and message.delay is not None:
        raise BadValue("delay", "give run_at or delay, not both")
    key = message.idempotency_key
    return NewTask(
        name=_name("name", message.name),
        args=_args(message.args),
        queue=None if message.queue is None else _name("queue", message.queue),
        priority=_whole("priority", DEFAULT_PRIORITY if message.priority is None else message.priority, 1, 4),
        run_at=_time("run_at", message.run_at),
        delay=_seconds("delay", message.delay),
        timeout=_seconds("timeout", message.timeout, positive=True),
        max_tries=None if message.max_tries is None else _whole("max_tries", message.max_tries, 1, 1000),
        backoff=None if message.backoff is None else _object("backoff", message.backoff),
        expires_at=_time("expires_at", message.expires_at),
        exclusive=message.exclusive,
        retry_on_crash=message.retry_on_crash is not False,
        tags=[_name("tags", tag) for tag in message.tags],
        metadata={_name("metadata", name): _text("metadata", value) for name, value in message.metadata.items()},
        idempotency_key=None if key is None else _name("idempotency_key", key),
        request_hash=None if key is None else _fingerprint(message),
        submitted_by=None if message.submitted_by is None else _name("submitted_by", message.submitted_by),
    )


def _fingerprint(message: wire.NewTask) -> bytes:
    """The same for the same submission: maps are the one thing that protobuf writes in any order."""
    parts = [
        message.name, message.args or "{}", message.queue, message.priority, message.run_at, message.delay,
        message.timeout, message.max_tries, message.backoff, message.expires_at, message.exclusive,
        message.retry_on_crash, list(message.tags), sorted(message.metadata.items()),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _text(field: str, value: str) -> str:
    if "\0" in value:
        raise BadValue(field, "may not contain a NUL character")
    return value


def _name(field: str, value: str) -> str:
    if not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise BadValue(field, f"must be 1 to {MAX_NAME} printable characters")
    return value


def _whole(field: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise BadValue(field, f"must be from {low} to {high}, got {value}")
    return value


def _seconds(field: str, value: float | None, *, positive: bool = False) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value) or not 0 <= value <= MAX_SECONDS or (positive and value == 0):
        raise BadValue(field, f"must be seconds {'above' if positive else 'from'} 0, at most ten years, got {value}")
    return value


def _time(field: str, value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadValue(field, f"must be an RFC 3339 time with an offset, like 2030-01-31T12:00:00Z, got {value!r}")
    return moment


def _object(field: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadValue(field, "must be a JSON object")
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _storable(field: str, value: Any) -> None:
    """PostgreSQL holds neither NUL nor half of a surrogate pair, escaped or not."""
    plain = json.dumps(value, ensure_ascii=False)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise BadValue(field, "may not contain a lone surrogate") from None
    if _NUL.search(plain):
        raise BadValue(field, "may not contain a NUL character")


def _args(text: str) -> str:
    size = len(text.encode())
    if size > MAX_ARGS:
        raise BadValue("args", f"takes {size} bytes; at most {MAX_ARGS} are allowed")
    if text:
        _storable("args", _object("args", text))
    return text or "{}"


# --- tasks and lists ------------------------------------------------------------------------------


def task_to_wire(task: Task) -> wire.Task:
    return wire.Task(
        id=task.id,
        name=task.name,
        queue=task.queue,
        state=shown_state(task),
        args=json_text(task.args),
        priority=task.priority,
        attempt=task.attempt,
        tries=task.tries,
        max_tries=task.max_tries,
        crashes=task.crashes,
        run_at=time_text(task.run_at),
        created_at=time_text(task.created_at),
        assigned_at=time_text(task.assigned_at),
        started_at=time_text(task.started_at),
        finished_at=time_text(task.finished_at),
        worker=task.worker or "",
        result=json_text(task.result),
        error=json_text(None if task.error is None else dict(task.error)),
        progress=json_text(None if task.progress is None else dict(task.progress)),
        tags=list(task.tags),
        metadata=dict(task.metadata),
        retry_of=task.retry_of or 0,
        submitted_by=task.submitted_by or "",
    )


def task_as_dict(message: wire.Task) -> dict[str, Any]:
    """As the HTTP API shows it: null where there is nothing, ids as numbers."""
    names = [one.name for one in fields(message) if not one.name.startswith("_")]
    shown: dict[str, Any] = {name: getattr(message, name) for name in names}
    for name in ("args", "result", "error", "progress"):
        shown[name] = json.loads(shown[name]) if shown[name] else None
    for name in (*(one for one in names if one.endswith("_at")), "worker", "submitted_by", "retry_of"):
        shown[name] = shown[name] or None
    return shown


def filter_from_wire(message: wire.ListTasksRequest) -> TaskFilter:
    """Raises BadValue."""
    for state in message.states:
        if state not in SHOWN_STATES:
            raise BadValue("states", f"must be of {', '.join(SHOWN_STATES)}, got {state!r}")
    return TaskFilter(
        states=list(message.states),
        name=_optional("name", message.name),
        queue=_optional("queue", message.queue),
        tag=_optional("tag", message.tag),
        worker=_optional("worker", message.worker),
        created_after=_time("created_after", message.created_after),
        created_before=_time("created_before", message.created_before),
        metadata={_name("metadata", name): _text("metadata", value) for name, value in message.metadata.items()},
    )


def _optional(field: str, value: str | None) -> str | None:
    return None if value is None else _name(field, value)


def page_from_wire(message: wire.ListTasksRequest) -> tuple[int, int | None]:
    """(limit, only ids below this). Raises BadValue."""
    limit = _whole("limit", message.limit or DEFAULT_PAGE, 1, MAX_PAGE)
    if not message.cursor:
        return limit, None
    if not (message.cursor.isascii() and message.cursor.isdigit() and int(message.cursor[:20]) < MAX_ID):
        raise BadValue("cursor", "must be a next_cursor that was given")
    return limit, int(message.cursor)


def task_id(value: int) -> int:
    return _whole("id", value, 1, MAX_ID - 1)
