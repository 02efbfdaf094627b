"""Tasks, as clients see them: reading and changing single tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from actors.model.errors import Conflict, NotFound
from actors.model.lane import LaneKey
from actors.model.ports import Submitted, TaskFilter, TaskPatch, TaskRoute
from actors.model.task import FINAL, Attempt, NewTask, Task, TaskState
from storage.bound import BoundSubmission
from storage.connect import Connection
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql
from storage.retry import post_again
from storage.submit import Submission

WAITING = {  # shown states that are one stored state and a condition
    "queued": "t.state = 'queued' AND t.run_at <= clock_timestamp()",
    "scheduled": "t.state = 'queued' AND t.run_at > clock_timestamp() AND t.tries + t.crashes + t.snoozes = 0",
    "retrying": "t.state = 'queued' AND t.run_at > clock_timestamp() AND t.tries + t.crashes + t.snoozes > 0",
    "cancelling": "t.state IN ('assigned', 'running') AND t.cancel_requested_at IS NOT NULL",
    "assigned": "t.state = 'assigned' AND t.cancel_requested_at IS NULL",
    "running": "t.state = 'running' AND t.cancel_requested_at IS NULL",
}


def a_task(row: asyncpg.Record) -> Task:
    """A row of task.sql."""
    fields: dict[str, Any] = dict(row)
    for name in ("args", "result", "error", "progress", "metadata", "requirements"):
        fields[name] = None if fields[name] is None else json.loads(fields[name])
    fields["state"] = TaskState(fields["state"])
    return Task(**fields)


class PostgresTasks:
    """Implements the task part of the TaskStore port."""

    def __init__(self, pool: Pool, lanes: Lanes, notifier: Notifier) -> None:
        self._pool, self._lanes, self._notifier = pool, lanes, notifier

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        return await Submission(self._pool, self._lanes, self._notifier).store(tasks)

    async def submit_bound(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        return await BoundSubmission(self._pool, self._lanes, self._notifier).store(tasks)

    async def resolve(self, limit: int) -> int:
        async def work(connection: Connection) -> asyncpg.Record:
            async with connection.transaction():
                row = await connection.fetchrow(sql("resolve"), limit, self._notifier.channel("due"))
                assert row is not None
                if row["hungry"]:
                    await connection.execute("SELECT callboard_give_inputs($1)", row["hungry"])
                return row

        row = await self._pool.run(work)
        if row["due"]:
            self._notifier.due()
        if row["final"]:
            self._notifier.final()
        return int(row["parents"])

    async def get(self, task_id: int) -> Task | None:
        row = await self._pool.fetchrow(sql("task") + "WHERE t.id = $1", task_id)
        return None if row is None else a_task(row)

    async def find(self, where: TaskFilter, *, limit: int, before_id: int | None) -> list[Task]:
        conditions, values = conditions_of(where)
        if before_id is not None:
            values.append(before_id)
            conditions.append(f"t.id < ${len(values)}")
        values.append(limit)
        text = f"{sql('task')} WHERE {' AND '.join(conditions) or 'true'} ORDER BY t.id DESC LIMIT ${len(values)}"
        return [a_task(row) for row in await self._pool.fetch_fitted(text, *values)]

    async def final_among(self, task_ids: Sequence[int]) -> set[int]:
        rows = await self._pool.fetch(
            "SELECT u.id FROM unnest($1::bigint[]) AS u (id) LEFT JOIN callboard_tasks t ON t.id = u.id"
            " WHERE t.id IS NULL OR t.finished_at IS NOT NULL",
            list(task_ids),
        )
        return {row["id"] for row in rows}

    async def attempts(self, task_id: int) -> list[Attempt]:
        rows = await self._pool.fetch(
            "SELECT a.task_id, a.attempt, a.outcome, a.accepted, w.worker, a.assigned_at, a.started_at, a.ended_at,"
            " a.error::text AS error, a.evidence::text AS evidence FROM callboard_attempts a"
            " LEFT JOIN callboard_workers w ON w.session_id = a.session_id WHERE a.task_id = $1"
            " ORDER BY a.attempt, a.id LIMIT 1000",
            task_id,
        )
        return [
            Attempt(**{**dict(row), **{name: row[name] and json.loads(row[name]) for name in ("error", "evidence")}})
            for row in rows
        ]

    async def route(self, task_id: int) -> TaskRoute | None:
        row = await self._pool.fetchrow(sql("route"), task_id)
        return None if row is None else TaskRoute(**dict(row))

    async def key_hash(self, key: str) -> bytes | None:
        row = await self._pool.fetchrow("SELECT request_hash FROM callboard_idempotency_keys WHERE key = $1", key)
        return None if row is None else bytes(row["request_hash"])

    async def patch(self, task_id: int, patch: TaskPatch) -> Task:
        changes, values = [], [task_id]
        if "run_at" in patch.fields:
            values.append(patch.run_at)  # type: ignore[arg-type]  # a row of mixed values
            changes.append(f"run_at = coalesce(${len(values)}::timestamptz, clock_timestamp())")
        if "priority" in patch.fields:
            values.append(patch.priority)  # type: ignore[arg-type]
            changes.append(f"priority = ${len(values)}::smallint")
        if "queue" in patch.fields:
            task = await self._existing(task_id)
            key = LaneKey(
                task.name, patch.queue, json.dumps(dict(task.requirements), sort_keys=True),
                task.concurrency_key is not None, task.weight > 1 or task.affinity_key is not None,
            )  # fmt: skip
            values.append((await self._lanes.intern([key]))[key])
            changes.append(f"lane_id = ${len(values)}::int")
        if changes:
            done = await self._pool.execute(
                f"UPDATE callboard_tasks SET {', '.join(changes)} WHERE id = $1 AND state = 'queued'", *values
            )
            if done == "UPDATE 0":
                task = await self._existing(task_id)
                raise Conflict(f"task {task_id} is {task.state}: only a waiting task can be changed", state=task.state)
            await self._notifier.announce("due")
        return await self._existing(task_id)

    async def cancel(self, task_id: int) -> str:
        row = await self._pool.fetchrow(
            sql("cancel"),
            task_id,
        )
        if row is None:
            task = await self._existing(task_id)
            if task.state is TaskState.CANCELLED:
                return "cancelled"
            raise Conflict(f"task {task_id} is {task.state} already", state=task.state)
        if row["state"] == "cancelled":
            self._notifier.final()
            if row["has_children"]:
                self._notifier.parents()
            return "cancelled"
        await self._notifier.announce("wishes")
        return "cancelling"

    async def retry(self, task_id: int, *, submitted_by: str | None, with_children: bool = False) -> int:
        task = await self._existing(task_id)
        if task.state not in FINAL:
            raise Conflict(f"task {task_id} is {task.state}: only a finished task can be retried", state=task.state)

        async def post(connection: Connection) -> int:
            async with connection.transaction():
                return await post_again(connection, task_id, submitted_by, with_children=with_children)

        made = await self._pool.run(post)
        self._notifier.parents()
        await self._notifier.announce("due")
        return made

    async def _existing(self, task_id: int) -> Task:
        task = await self.get(task_id)
        if task is None:
            raise NotFound(f"task {task_id} does not exist, or was pruned")
        return task


def conditions_of(where: TaskFilter) -> tuple[list[str], list[Any]]:
    """SQL conditions with numbered values."""
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, value: Any) -> None:
        values.append(value)
        conditions.append(condition.format(f"${len(values)}"))

    if where.states:
        stored = [state for state in where.states if state not in WAITING]
        parts = [f"({WAITING[state]})" for state in where.states if state in WAITING]
        if stored:
            values.append(stored)
            parts.append(f"t.state = ANY (${len(values)}::text[])")
        conditions.append(f"({' OR '.join(parts)})")
    lanes = "t.lane_id IN (SELECT x.id FROM callboard_lanes x LEFT JOIN callboard_handlers y ON y.name = x.name WHERE "
    if where.name is not None:
        add(lanes + "x.name = {})", where.name)
    if where.queue is not None:
        add(lanes + "coalesce(x.queue, y.queue, 'default') = {})", where.queue)
    if where.tag is not None:
        add("t.tags @> ARRAY[{}::text]", where.tag)
    if where.worker is not None:
        add("t.session_id IN (SELECT x.session_id FROM callboard_workers x WHERE x.worker = {})", where.worker)
    if where.schedule is not None:
        add("t.schedule_id IN (SELECT x.id FROM callboard_schedules x WHERE x.name = {})", where.schedule)
    if where.workflow is not None:
        add("(t.workflow_id = {0} AND t.workflow_id IS NOT NULL)", where.workflow)
    if where.created_after is not None:
        add("t.created_at > {}", where.created_after)
    if where.created_before is not None:
        add("t.created_at < {}", where.created_before)
    if where.metadata:
        add("t.metadata @> {}::jsonb", json.dumps(dict(where.metadata)))
    return conditions, values
