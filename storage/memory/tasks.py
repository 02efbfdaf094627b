"""Tasks, as clients see them, in memory: reading and changing single tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from trio.lowlevel import checkpoint

from actors.model.errors import Conflict, NotFound
from actors.model.lane import LaneKey
from actors.model.ports import Submitted, TaskFilter, TaskPatch, TaskRoute
from actors.model.task import DEFAULT_MAX_TRIES, FINAL, Attempt, NewTask, Task, TaskState
from storage.memory.rows import HELD, AttemptRow, TaskRow
from storage.memory.submit import submit
from storage.memory.tables import Changes, Tables
from storage.memory.values import contains, indexed, text
from storage.memory.wakeups import MemoryWakeups

MOST_ATTEMPTS = 1000  # of a task that are shown
_COPIED = ("lane_id", "args", "priority", "timeout", "max_tries", "backoff", "exclusive", "retry_on_crash", "tags",
           "metadata", "concurrency_key", "weight", "affinity_key")  # fmt: skip
_SAME = ("id", "priority", "attempt", "tries", "crashes", "snoozes", "undelivered", "run_at", "created_at",
         "assigned_at", "started_at", "finished_at", "expires_at", "exclusive", "retry_on_crash", "retry_of",
         "submitted_by", "cancel_requested_at", "concurrency_key", "weight", "affinity_key", "unique_key")  # fmt: skip


class MemoryTasks:
    """Implements the task part of the TaskStore port."""

    def __init__(self, tables: Tables, wakeups: MemoryWakeups) -> None:
        self._tables, self._wakeups = tables, wakeups

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        await checkpoint()
        return submit(self._tables, self._wakeups, tasks)

    async def submit_bound(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        """Nothing is bound here."""
        raise NotImplementedError

    async def resolve(self, limit: int) -> int:
        await checkpoint()
        return 0

    async def get(self, task_id: int) -> Task | None:
        await checkpoint()
        row = self._tables.tasks.get(task_id)
        return None if row is None else self._seen(row)

    async def find(self, where: TaskFilter, *, limit: int, before_id: int | None) -> list[Task]:
        await checkpoint()
        now = self._tables.now()
        found: list[Task] = []
        for number in sorted(self._tables.tasks, reverse=True):
            if len(found) == limit:
                break
            row = self._tables.tasks[number]
            if (before_id is None or number < before_id) and self._fits(row, where, now):
                found.append(self._seen(row))
        return found

    async def final_among(self, task_ids: Sequence[int]) -> set[int]:
        await checkpoint()
        return {number for number in task_ids if number not in self._tables.unfinished}

    async def attempts(self, task_id: int) -> list[Attempt]:
        await checkpoint()
        rows = sorted(self._tables.attempts.get(task_id, ()), key=lambda row: (row.attempt, row.id))
        return [self._ended(row) for row in rows[:MOST_ATTEMPTS]]

    async def route(self, task_id: int) -> TaskRoute | None:
        await checkpoint()
        row = self._tables.tasks.get(task_id)
        if row is None:
            return None
        session = self._tables.sessions.get(row.session_id or 0) if row.state in HELD else None
        return TaskRoute(
            state=row.state, attempt=row.attempt, started=row.state == "running",
            http_address=None if session is None else session.http_address,
            key=None if session is None else session.secret_hash,
        )  # fmt: skip

    async def key_hash(self, key: str) -> bytes | None:
        await checkpoint()
        row = self._tables.keys.get(text(key))
        return None if row is None else row.request_hash

    async def patch(self, task_id: int, patch: TaskPatch) -> Task:
        await checkpoint()
        row, changes = self._existing(task_id), self._changes(task_id, patch)
        if changes:
            if row.state != "queued":
                raise Conflict(f"task {task_id} is {row.state}: only a waiting task can be changed", state=row.state)
            self._tables.apply(Changes(tasks={task_id: replace(row, **changes)}))
            self._wakeups.notify("due")
        return self._seen(self._existing(task_id))

    def _changes(self, task_id: int, patch: TaskPatch) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if "run_at" in patch.fields:
            changes["run_at"] = self._tables.now() if patch.run_at is None else patch.run_at.astimezone(UTC)
        if "priority" in patch.fields:
            changes["priority"] = patch.priority
        if "queue" in patch.fields:
            lane = self._tables.lanes[self._existing(task_id).lane_id]
            indexed(lane.name + (patch.queue or "") + lane.requirements)
            key = LaneKey(lane.name, patch.queue, lane.requirements, lane.keyed, lane.placed)
            changes["lane_id"] = self._tables.lane(key)
        return changes

    async def cancel(self, task_id: int) -> str:
        await checkpoint()
        row, now = self._existing(task_id), self._tables.now()
        if row.state == TaskState.CANCELLED:
            return "cancelled"
        if row.state in FINAL:
            raise Conflict(f"task {task_id} is {row.state} already", state=row.state)
        wish = replace(row, cancel_requested_at=row.cancel_requested_at or now)
        if row.state in HELD:
            self._tables.apply(Changes(tasks={task_id: wish}))
            self._wakeups.notify("wishes")
            return "cancelling"
        self._tables.apply(Changes(tasks={task_id: replace(wish, state="cancelled", finished_at=now)}))
        self._wakeups.notify("final")
        return "cancelled"

    async def retry(self, task_id: int, *, submitted_by: str | None, with_children: bool = False) -> int:
        await checkpoint()
        row, now = self._existing(task_id), self._tables.now()
        if row.state not in FINAL:
            raise Conflict(f"task {task_id} is {row.state}: only a finished task can be retried", state=row.state)
        for number in self._tables.unfinished:
            if self._tables.tasks[number].retry_of == task_id:
                raise Conflict(f"task {number} is an unfinished retry of task {task_id}", state=row.state)
        new = TaskRow(
            id=self._tables.next_id("task"), run_at=now, created_at=now, retry_of=task_id,
            submitted_by=row.submitted_by if submitted_by is None else text(submitted_by),
            **{name: getattr(row, name) for name in _COPIED},
        )  # fmt: skip
        self._tables.apply(Changes(tasks={new.id: new}))
        self._wakeups.notify("due")
        return new.id

    # --- views ------------------------------------------------------------------------------------

    def _existing(self, task_id: int) -> TaskRow:
        row = self._tables.tasks.get(task_id)
        if row is None:
            raise NotFound(f"task {task_id} does not exist, or was pruned")
        return row

    def _seen(self, row: TaskRow) -> Task:
        """task.sql."""
        lane = self._tables.lanes[row.lane_id]
        session = self._tables.sessions.get(row.session_id or 0)
        return Task(
            name=lane.name,
            queue=self._tables.queue(lane),
            state=TaskState(row.state),
            max_tries=self._tables.max_tries(row, DEFAULT_MAX_TRIES),
            timeout=self._tables.timeout(row),
            worker=None if session is None else session.worker,
            worker_http=session.http_address if session is not None and row.state in HELD else None,
            tags=list(row.tags),
            args=json.loads(row.args),
            metadata=json.loads(row.metadata),
            requirements=json.loads(lane.requirements),
            result=_value(row.result),
            error=_value(row.error),
            progress=_value(row.progress),
            now=self._tables.now(),
            **{name: getattr(row, name) for name in _SAME},
        )

    def _ended(self, row: AttemptRow) -> Attempt:
        session = self._tables.sessions.get(row.session_id or 0)
        return Attempt(
            task_id=row.task_id, attempt=row.attempt, outcome=row.outcome, accepted=row.accepted,
            worker=None if session is None else session.worker, assigned_at=row.assigned_at, started_at=row.started_at,
            ended_at=row.ended_at, error=_value(row.error), evidence=_value(row.evidence),
        )  # fmt: skip

    def _fits(self, row: TaskRow, where: TaskFilter, now: datetime) -> bool:
        lane = self._tables.lanes[row.lane_id]
        session = self._tables.sessions.get(row.session_id or 0)
        return (
            (not where.states or any(SHOWN.get(state, _as_stored(state))(row, now) for state in where.states))
            and (where.name is None or lane.name == text(where.name))
            and (where.queue is None or self._tables.queue(lane) == text(where.queue))
            and (where.tag is None or text(where.tag) in row.tags)
            and (where.worker is None or (session is not None and session.worker == text(where.worker)))
            and where.schedule is None  # no task here is a schedule's
            and (where.workflow is None or row.workflow_id == where.workflow)
            and (where.created_after is None or row.created_at > where.created_after)
            and (where.created_before is None or row.created_at < where.created_before)
            and (not where.metadata or contains(json.loads(row.metadata), where.metadata))
        )


def _value(source: str | None) -> Any:
    return None if source is None else json.loads(source)


def _repeated(row: TaskRow) -> bool:
    return row.tries + row.crashes + row.snoozes > 0


def _as_stored(state: str) -> Callable[[TaskRow, datetime], bool]:
    return lambda row, _: row.state == state


SHOWN: dict[str, Callable[[TaskRow, datetime], bool]] = {  # those that are one stored state and a condition
    "queued": lambda row, now: row.state == "queued" and row.run_at <= now,
    "scheduled": lambda row, now: row.state == "queued" and row.run_at > now and not _repeated(row),
    "retrying": lambda row, now: row.state == "queued" and row.run_at > now and _repeated(row),
    "cancelling": lambda row, _: row.state in HELD and row.cancel_requested_at is not None,
    "assigned": lambda row, _: row.state == "assigned" and row.cancel_requested_at is None,
    "running": lambda row, _: row.state == "running" and row.cancel_requested_at is None,
}
