"""What people look at: workers, coordinators, counts; and what the janitor takes away."""

from __future__ import annotations

import json
from typing import Any

from actors.model.errors import NotFound
from actors.model.ports import FullQueues
from actors.model.queue import Retention
from actors.model.task import DEFAULT_QUEUE
from actors.model.worker import CoordinatorView, WorkerView
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql

FEW = 1_000.0  # tasks: plans for so few are bad for many
COUNTED = 100_000  # tasks of one state that are counted; more than this is shown as this


class PostgresOverview:
    """Implements the other part of the TaskStore port."""

    def __init__(self, pool: Pool, notifier: Notifier, retention: Retention) -> None:
        self._pool, self._notifier, self._retention = pool, notifier, retention

    async def known_handlers(self) -> dict[str, bool]:
        rows = await self._pool.fetch(
            "SELECT h.name, EXISTS (SELECT FROM callboard_workers w WHERE w.state = 'live'"
            " AND w.lease_until > clock_timestamp() AND h.name = ANY (w.handlers)) AS live FROM callboard_handlers h"
        )
        return {row["name"]: row["live"] for row in rows}

    async def full_queues(self, limit: int) -> FullQueues:
        rows = await self._pool.fetch_fitted(sql("full_queues"), limit, DEFAULT_QUEUE)
        lanes = {(row["name"], row["given"]): row["queue"] for row in rows}
        return FullQueues(frozenset(lanes.values()), lanes)

    async def refresh_statistics(self) -> bool:
        row = await self._pool.fetchrow(
            "SELECT reltuples BETWEEN 0 AND $1 AND pg_stat_get_mod_since_analyze(oid) > $1 AS young"
            " FROM pg_class WHERE oid = 'callboard_tasks'::regclass",
            FEW,
        )
        if row is None or not row["young"]:
            return False
        await self._pool.execute("ANALYZE callboard_tasks")
        return True

    async def unserved(self, limit: int) -> list[str]:
        return [row["name"] for row in await self._pool.fetch(sql("unserved"), DEFAULT_QUEUE, limit)]

    async def stats(self) -> dict[str, Any]:
        waiting = await self._pool.fetch_fitted(sql("count_waiting"), COUNTED)
        held = await self._pool.fetch_fitted(sql("count_held"))
        final = await self._pool.fetch_fitted(sql("count_final"), COUNTED)
        workers = await self._pool.fetch("SELECT state, count(*)::bigint AS count FROM callboard_workers GROUP BY 1")
        depth, due = sum(row["depth"] for row in waiting), sum(row["due"] for row in waiting)
        tasks = {"queued": due, "scheduled": depth - due, "assigned": 0, "running": 0, "cancelling": 0}
        tasks.update({row["state"]: row["count"] for row in [*held, *final]})
        return {
            "tasks": tasks,
            "queues": [
                {"name": row["queue"], "depth": row["depth"], "due": row["due"], "oldest_age": row["oldest"]}
                for row in waiting
            ],
            "workers": {row["state"]: row["count"] for row in workers},
            "counted_up_to": COUNTED,
        }

    async def prune(self, limit: int) -> int:
        expired = await self._pool.execute(sql("expire"), limit)
        if expired != "UPDATE 0":
            self._notifier.final()
            self._notifier.parents()
        kept = self._retention
        rows = await self._pool.fetch(sql("prune"), limit, kept.succeeded, kept.unsuccessful, kept.keys)
        await self._pool.execute(sql("prune_sessions"))
        return int(rows[0]["count"])

    async def workers(self, *, include_ended: bool = False) -> list[WorkerView]:
        return [_view(row) for row in await self._pool.fetch(sql("worker"), None, include_ended)]

    async def worker(self, worker_id: str) -> WorkerView | None:
        rows = await self._pool.fetch(sql("worker"), worker_id, True)
        return _view(rows[0]) if rows else None

    async def set_worker(self, worker_id: str, *, paused: bool | None = None, drain: bool | None = None) -> WorkerView:
        await self._pool.execute(sql("set_worker"), worker_id, paused, drain)
        view = await self.worker(worker_id)
        if view is None:
            raise NotFound(f"worker {worker_id} does not exist")
        await self._notifier.announce("wishes")
        return view

    async def coordinators(self) -> list[CoordinatorView]:
        rows = await self._pool.fetch(sql("coordinators"))
        return [CoordinatorView(**dict(row)) for row in rows]


def _view(row: Any) -> WorkerView:
    fields = dict(row)
    return WorkerView(**{**fields, "labels": json.loads(fields["labels"]), "health": json.loads(fields["health"])})
