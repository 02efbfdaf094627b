"""T0: a group of submissions becomes rows; what can't be held fails alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from actors.model.errors import BadValue, IdempotencyConflict
from actors.model.lane import LaneKey, lane_key
from actors.model.ports import FirstLook, Submitted
from actors.model.task import DEFAULT_MAX_TRIES, NewTask
from storage.memory.rows import KeyRow, TaskRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import indexed, later, stored, text
from storage.memory.wakeups import MemoryWakeups

SHOWN = 100  # so many at most are answered with their first look


def submit(tables: Tables, wakeups: MemoryWakeups, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
    """One answer each; halves of a group that can't be stored are tried by themselves."""
    if not tasks:
        return []
    try:
        return store(tables, wakeups, tasks)
    except BadValue as error:
        if len(tasks) == 1:
            return [error]
        half = len(tasks) // 2
        return [*submit(tables, wakeups, tasks[:half]), *submit(tables, wakeups, tasks[half:])]


def store(tables: Tables, wakeups: MemoryWakeups, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
    """All or nothing; raises BadValue."""
    now = tables.now()
    lanes = [tables.lane(_kind(task)) for task in tasks]
    changes = Changes()
    rows: list[TaskRow | None] = []
    for task, lane in zip(tasks, lanes, strict=True):
        number, key = tables.next_id("task"), task.idempotency_key
        text(task.args)
        if key is not None and (key in tables.keys or indexed(key) in changes.keys):
            rows.append(None)  # nothing else of it is looked at
            continue
        if key is not None:
            changes.keys[key] = KeyRow(key=key, request_hash=task.request_hash or b"", task_id=number, created_at=now)
        row = changes.tasks[number] = _row(task, number, lane, now)
        rows.append(row)
    tables.apply(changes)
    if any(row is not None and row.run_at <= now for row in rows):
        wakeups.notify("due")
    return [
        _repeat(tables, task) if row is None else Submitted(row.id, True, _look(tables, row, len(tasks)))
        for task, row in zip(tasks, rows, strict=True)
    ]


def _kind(task: NewTask) -> LaneKey:
    key = lane_key(task)
    indexed(task.name + (task.queue or "") + key.requirements)
    return key


def _row(task: NewTask, number: int, lane: int, now: datetime) -> TaskRow:
    return TaskRow(
        id=number,
        lane_id=lane,
        created_at=now,
        args=stored(task.args),
        priority=task.priority,
        run_at=task.run_at.astimezone(UTC) if task.run_at is not None else later(now, task.delay or 0.0),
        timeout=task.timeout,
        max_tries=task.max_tries,
        backoff=stored(json.dumps(dict(task.backoff))) if task.backoff else None,
        expires_at=task.expires_at and task.expires_at.astimezone(UTC),
        exclusive=task.exclusive,
        retry_on_crash=task.retry_on_crash,
        tags=tuple(map(text, task.tags)),
        metadata=stored(json.dumps(dict(task.metadata))),
        retry_of=task.retry_of,
        submitted_by=None if task.submitted_by is None else text(task.submitted_by),
        schedule_id=task.schedule_id,
        concurrency_key=None if task.concurrency_key is None else text(task.concurrency_key),
        affinity_key=None if task.affinity_key is None else text(task.affinity_key),
        weight=task.weight,
    )


def _look(tables: Tables, row: TaskRow, posted: int) -> FirstLook | None:
    if posted > SHOWN:
        return None
    queue = tables.queue(tables.lanes[row.lane_id])
    return FirstLook(row.run_at, row.created_at, queue, tables.max_tries(row, DEFAULT_MAX_TRIES))


def _repeat(tables: Tables, task: NewTask) -> Submitted | Exception:
    """The answer to a submission whose key was known."""
    key = tables.keys[task.idempotency_key or ""]
    if key.request_hash == (task.request_hash or b""):
        return Submitted(key.task_id, False)
    return IdempotencyConflict(
        f"Idempotency-Key {key.key[:64]!r} was used with another body,"
        f" for task {key.task_id}: use a new key for a new task"
    )
