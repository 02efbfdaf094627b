"""Tasks ↔ their published form. What a submission may be, actors.model.submission says. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from actors.model.errors import BadValue
from actors.model.fields import Entries, Instant, Kind, Text, Whole
from actors.model.ports import TaskFilter
from actors.model.strict_json import Malformed, loads, suspicious, unstorable
from actors.model.submission import KEY_WANTED, SUBMITTER, fingerprint, is_key, read_task
from actors.model.task import SHOWN_STATES, NewTask, Task, shown_state
from actors.model.wrong import Wrong, shown
from protos.generated.callboard import v1 as wire

MAX_ID = 2**63
MAX_PAGE, DEFAULT_PAGE = 500, 50
_SAME = ("queue", "priority", "run_at", "delay", "timeout", "max_tries", "expires_at", "retry_on_crash",
         "concurrency_key", "weight", "affinity_key", "unique_key", "on_duplicate", "on_parent_failure",
         "inputs")  # fmt: skip
_FILTER: Kind = Text(1024)
_WANTED: Kind = Entries(Text(1024), Text(1024, 0), 64)


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
        requirements=dict(task.requirements),
        concurrency_key=task.concurrency_key,
        weight=task.weight,
        affinity_key=task.affinity_key,
        unique_key=task.unique_key,
        unique_until=json_text(task.unique_until) if task.unique_key is not None else None,
        on_duplicate=task.on_duplicate if task.unique_key is not None else None,
        depends_on=list(task.depends_on),
        on_parent_failure=task.on_parent_failure if task.depends_on else None,
        inputs=task.inputs,
    )


def new_task_from_wire(message: wire.NewTask, now: datetime) -> NewTask:
    """Raises BadValue, which names the first wrong field."""
    args = json_value("args", message.args) if message.args else {}
    value = _as_json(message, args)
    found = list(unstorable({name: one for name, one in value.items() if name != "args"}, "", search=True))
    key = message.idempotency_key
    if key is not None and not is_key(key):
        found.append(Wrong("idempotency_key", "invalid", KEY_WANTED))
    task = None
    if not found:
        task, found = read_task(
            value, now, lambda _: message.args, key=key, request_hash=None if key is None else fingerprint(value),
            submitted_by=message.submitted_by,
        )  # fmt: skip
    if task is None:
        raise bad(found)
    return task


def submitter(name: str | None) -> str | None:
    """Raises BadValue."""
    return None if name is None else str(read(SUBMITTER, "submitted_by", name))


def _as_json(message: wire.NewTask, args: Any) -> dict[str, Any]:
    """The object that the same submission is in JSON: what is not given is not there."""
    value: dict[str, Any] = {"name": message.name}
    if args != {}:
        value["args"] = args
    for name in _SAME:
        given = getattr(message, name)
        if given is not None:
            value[name] = given
    if message.backoff is not None:
        value["backoff"] = json_value("backoff", message.backoff)
    if message.exclusive:
        value["exclusive"] = True
    if message.tags:
        value["tags"] = list(message.tags)
    if message.metadata:
        value["metadata"] = dict(message.metadata)
    if message.requirements:
        value["requirements"] = dict(message.requirements)
    if message.depends_on:
        value["depends_on"] = [str(one) for one in message.depends_on]
    if message.unique_until is not None:
        value["unique_until"] = json_value("unique_until", message.unique_until)
    return value


def json_value(field: str, text: str) -> Any:
    raw = text.encode()
    try:
        value = loads(raw, "the text")
    except Malformed as error:
        raise BadValue(field, error.detail) from None
    found = list(unstorable(value, field, search=suspicious(raw)))
    if found:
        raise bad(found)
    return value


def bad(found: Sequence[Wrong]) -> BadValue:
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return BadValue(found[0].field, found[0].detail + more)


def read(kind: Kind, field: str, value: Any) -> Any:
    """Raises BadValue."""
    found: list[Wrong] = []
    made = kind.read(value, field, found)
    found += unstorable(value, field, search=True)
    if found:
        raise bad(found)
    return made


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
        schedule=task.schedule or "",
        requirements=dict(task.requirements),
        concurrency_key=task.concurrency_key or "",
        weight=task.weight,
        affinity_key=task.affinity_key or "",
        unique_key=task.unique_key or "",
        depends_on=list(task.depends_on),
        workflow=task.workflow or 0,
    )


def task_as_dict(message: wire.Task) -> dict[str, Any]:
    """As the HTTP API shows it: null where there is nothing, ids as numbers."""
    names = [one.name for one in fields(message) if not one.name.startswith("_")]
    shown: dict[str, Any] = {name: getattr(message, name) for name in names}
    for name in ("args", "result", "error", "progress"):
        shown[name] = json.loads(shown[name]) if shown[name] else None
    for name in (*(one for one in names if one.endswith("_at")), "worker", "submitted_by",
                 "retry_of", "schedule", "concurrency_key", "affinity_key", "unique_key", "workflow"):  # fmt: skip
        shown[name] = shown[name] or None
    return shown


def filter_from_wire(message: wire.ListTasksRequest) -> TaskFilter:
    """Raises BadValue."""
    for state in message.states:
        if state not in SHOWN_STATES:
            raise BadValue("states", f"{shown(state)} is no state; known: {', '.join(SHOWN_STATES)}")
    return TaskFilter(
        states=list(message.states),
        name=_optional("name", message.name),
        queue=_optional("queue", message.queue),
        tag=_optional("tag", message.tag),
        worker=_optional("worker", message.worker),
        schedule=_optional("schedule", message.schedule),
        created_after=_optional("created_after", message.created_after, Instant()),
        created_before=_optional("created_before", message.created_before, Instant()),
        metadata=read(_WANTED, "metadata", dict(message.metadata)),
    )


def _optional(field: str, value: str | None, kind: Kind = _FILTER) -> Any:
    return None if value is None else read(kind, field, value)


def page_from_wire(message: wire.ListTasksRequest) -> tuple[int, int | None]:
    """(limit, only ids below this). Raises BadValue."""
    return page(message.limit, message.cursor)


def page(limit: int, cursor: str, field: str = "limit") -> tuple[int, int | None]:
    """The same, from its parts; 0 and an empty text stand for none."""
    most: int = read(Whole(1, MAX_PAGE), field, limit or DEFAULT_PAGE)
    if not cursor:
        return most, None
    if not (cursor.isascii() and cursor.isdigit() and int(cursor[:20]) < MAX_ID):
        raise BadValue("cursor", "must be a next_cursor that was given")
    return most, int(cursor)


def task_id(value: int) -> int:
    made: int = read(Whole(1, MAX_ID - 1), "id", value)
    return made
