"""Implements the WorkflowStore port on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import asyncpg

from actors.model.errors import IdempotencyConflict, NotFound
from actors.model.lane import LaneKey, lane_key
from actors.model.workflow import NewWorkflow, Workflow
from storage.connect import Connection
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.pool import Pool, always, never
from storage.queries import sql
from storage.submit import Bonds, parameters_of


class PostgresWorkflows:
    def __init__(self, pool: Pool, lanes: Lanes, notifier: Notifier) -> None:
        self._pool, self._lanes, self._notifier = pool, lanes, notifier

    async def submit(self, workflow: NewWorkflow, *, key: str | None, request_hash: bytes | None) -> tuple[int, bool]:
        lanes = await self._lanes.intern(set(map(lane_key, workflow.tasks)))
        own_key = None if key is None else f"workflow {key}"  # apart from the keys of tasks

        async def work(connection: Connection) -> tuple[int, bool]:
            async with connection.transaction():
                number: int = await connection.fetchval(
                    "SELECT nextval(pg_get_serial_sequence('callboard_workflows', 'id'))"
                )
                if own_key is not None:
                    first = await _first(connection, own_key, request_hash, number)
                    if first != number:
                        return first, False
                await self._store(connection, workflow, number, lanes)
                return number, True

        # With a key a repeat is answered with what was stored; without one it would be stored twice.
        number, created = await self._pool.run(work, repeatable=never if key is None else always)
        if created:
            self._notifier.notify("due")
        return number, created

    async def _store(
        self, connection: Connection, workflow: NewWorkflow, number: int, lanes: Mapping[LaneKey, int]
    ) -> None:
        tasks = [replace(task, workflow_id=number, submitted_by=workflow.submitted_by) for task in workflow.tasks]
        with_children = {parent for mine in workflow.parents for parent in mine}
        bonds = [Bonds(len(mine), len(mine), place in with_children) for place, mine in enumerate(workflow.parents)]
        row = await connection.fetchrow(
            sql("submit"), *parameters_of(tasks, lanes, self._notifier.channel("due"), bonds)
        )
        assert row is not None
        ids: list[int] = row["ids"]
        edges = [
            (ids[place], ids[parent], tasks[place].on_parent_failure == "cancel", False)
            for place, mine in enumerate(workflow.parents)
            for parent in mine
        ]
        if edges:
            await connection.execute(sql("connect"), *map(list, zip(*edges, strict=True)))
        await connection.execute(
            "INSERT INTO callboard_workflows (id, name, submitted_by, refs, task_ids)"
            " OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5)",
            number,
            workflow.name,
            workflow.submitted_by,
            list(workflow.refs),
            ids,
        )

    async def get(self, workflow_id: int) -> Workflow | None:
        row = await self._pool.fetchrow(sql("workflow") + "WHERE w.id = $1", workflow_id)
        return None if row is None else _workflow(row)

    async def find(self, *, limit: int, before_id: int | None) -> list[Workflow]:
        rows = await self._pool.fetch(
            sql("workflow") + "WHERE w.id < $1 ORDER BY w.id DESC LIMIT $2",
            2**63 - 1 if before_id is None else before_id,
            limit,
        )
        return [_workflow(row) for row in rows]

    async def cancel(self, workflow_id: int) -> dict[str, int]:
        known = await self._pool.fetchrow("SELECT FROM callboard_workflows WHERE id = $1", workflow_id)
        if known is None:
            raise NotFound(f"workflow {workflow_id} does not exist, or was pruned")
        states = Counter(row["state"] for row in await self._pool.run(partial(_cancel, workflow_id)))
        told = {"cancelled": states.pop("cancelled", 0), "cancelling": states.total()}
        if told["cancelled"]:
            self._notifier.final()
            self._notifier.parents()
        if told["cancelling"]:
            await self._notifier.announce("wishes")
        return told


async def _cancel(workflow_id: int, connection: Connection) -> list[asyncpg.Record]:
    """Locks in the order in which everybody locks, then changes: no join that could go wrong for many rows."""
    async with connection.transaction():
        await connection.execute(
            "SELECT FROM callboard_tasks WHERE workflow_id = $1 AND workflow_id IS NOT NULL AND finished_at IS NULL"
            " ORDER BY id FOR UPDATE",
            workflow_id,
        )
        return list(await connection.fetch(sql("cancel_workflow"), workflow_id))


async def _first(connection: Connection, key: str, request_hash: bytes | None, number: int) -> int:
    """The workflow that has this key: this one, or one of before."""
    await connection.execute(
        "INSERT INTO callboard_idempotency_keys (key, request_hash, task_id) VALUES ($1, $2, $3)"
        " ON CONFLICT (key) DO NOTHING",
        key,
        request_hash or b"",
        number,
    )
    rows = await connection.fetch(sql("known_keys"), [key], [request_hash or b""])
    [row] = rows
    if not row["same"]:
        raise IdempotencyConflict(
            f"Idempotency-Key {key.removeprefix('workflow ')[:64]!r} was used with another body, for workflow"
            f" {row['task_id']}: use a new key for a new workflow"
        )
    return int(row["task_id"])


def _workflow(row: asyncpg.Record) -> Workflow:
    return Workflow(
        id=row["id"],
        name=row["name"],
        created_at=row["created_at"],
        submitted_by=row["submitted_by"],
        refs=row["refs"],
        task_ids=row["task_ids"],
        counts=dict(zip(row["states"], row["counts"], strict=True)),
        finished_at=row["finished_at"],
    )
