"""What people look at: workers, coordinators, counts; and what the janitor takes away."""

from __future__ import annotations

import json
from typing import Any

from actors.model.errors import NotFound
from actors.model.worker import CoordinatorView, WorkerView
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql

# Retention by state, and of sessions; seconds are the database's.
PRUNE = """
WITH old AS MATERIALIZED (
    SELECT id FROM callboard_tasks WHERE finished_at IS NOT NULL
      AND finished_at < clock_timestamp() - CASE state WHEN 'succeeded' THEN interval '7 days' ELSE interval '30 days' END
      AND id < (SELECT coalesce(max(id), 0) FROM callboard_tasks) LIMIT $1
), gone AS (DELETE FROM callboard_tasks t USING old WHERE t.id = old.id RETURNING t.id),
attempts AS (DELETE FROM callboard_attempts a USING old WHERE a.task_id = old.id),
keys AS (DELETE FROM callboard_idempotency_keys WHERE key IN (
    SELECT key FROM callboard_idempotency_keys WHERE created_at < clock_timestamp() - interval '24 hours' LIMIT $1)),
sessions AS (DELETE FROM callboard_workers WHERE ended_at < clock_timestamp() - interval '30 days')
SELECT count(*)::int FROM gone
"""
EXPIRE = """
UPDATE callboard_tasks SET state = 'expired', finished_at = clock_timestamp()
WHERE id IN (SELECT id FROM callboard_tasks WHERE state = 'queued' AND expires_at <= clock_timestamp()
             ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
"""
COUNTED = 100_000  # tasks of one state that are counted exactly; beyond it the planner's estimate is good enough
STATES = """
SELECT s.state, (SELECT count(*) FROM (SELECT FROM callboard_tasks t WHERE t.state = s.state LIMIT $1) x)::bigint AS count
FROM unnest($2::text[]) AS s (state)
"""


class PostgresOverview:
    """Implements the other part of the TaskStore port."""

    def __init__(self, pool: Pool, notifier: Notifier) -> None:
        self._pool, self._notifier = pool, notifier

    async def known_handlers(self) -> dict[str, bool]:
        rows = await self._pool.fetch(
            "SELECT h.name, EXISTS (SELECT FROM callboard_workers w WHERE w.state = 'live'"
            " AND w.lease_until > clock_timestamp() AND h.name = ANY (w.handlers)) AS live FROM callboard_handlers h"
        )
        return {row["name"]: row["live"] for row in rows}

    async def stats(self) -> dict[str, Any]:
        waiting = await self._pool.fetch(
            "SELECT coalesce(l.queue, h.queue, 'default') AS queue, count(*)::bigint AS depth,"
            " count(*) FILTER (WHERE t.run_at <= statement_timestamp())::bigint AS due,"
            " extract(epoch FROM clock_timestamp() - min(t.run_at) FILTER (WHERE t.run_at <= statement_timestamp()))::float8 AS oldest"
            " FROM (SELECT lane_id, run_at FROM callboard_tasks WHERE state = 'queued' LIMIT $1) t"
            " JOIN callboard_lanes l ON l.id = t.lane_id LEFT JOIN callboard_handlers h ON h.name = l.name GROUP BY 1 ORDER BY 1",
            COUNTED,
        )
        held = await self._pool.fetch(
            "SELECT CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelling' ELSE state END AS state, count(*)::bigint AS count"
            " FROM callboard_tasks WHERE state IN ('assigned', 'running') GROUP BY 1"
        )
        final = await self._pool.fetch(
            STATES, COUNTED, ["succeeded", "failed", "cancelled", "expired", "quarantined", "blocked"]
        )
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
        expired = await self._pool.execute(EXPIRE, limit)
        if expired != "UPDATE 0":
            self._notifier.final()
        rows = await self._pool.fetch(PRUNE, limit)
        return int(rows[0]["count"])

    async def workers(self, *, include_ended: bool = False) -> list[WorkerView]:
        return [_view(row) for row in await self._pool.fetch(sql("worker"), None, include_ended)]

    async def worker(self, worker_id: str) -> WorkerView | None:
        rows = await self._pool.fetch(sql("worker"), worker_id, True)
        return _view(rows[0]) if rows else None

    async def set_worker(self, worker_id: str, *, paused: bool | None = None, drain: bool | None = None) -> WorkerView:
        await self._pool.execute(
            "UPDATE callboard_workers SET paused = coalesce($2, paused), drain_requested = coalesce($3, drain_requested)"
            " WHERE worker = $1 AND state IN ('live', 'draining')",
            worker_id,
            paused,
            drain,
        )
        view = await self.worker(worker_id)
        if view is None:
            raise NotFound(f"worker {worker_id} does not exist")
        self._notifier.notify("wishes")
        await self._pool.execute("SELECT pg_notify($1, '')", self._notifier.channel("wishes"))
        return view

    async def coordinators(self) -> list[CoordinatorView]:
        rows = await self._pool.fetch(
            "SELECT id, address, version, started_at, seen_until, seen_until > clock_timestamp() AS alive,"
            " (SELECT count(*) FROM callboard_workers w WHERE w.coordinator_id = c.id AND w.state IN ('live', 'draining'))::int AS workers"
            " FROM callboard_coordinators c ORDER BY started_at"
        )
        return [CoordinatorView(**dict(row)) for row in rows]


def _view(row: Any) -> WorkerView:
    fields = dict(row)
    return WorkerView(**{**fields, "labels": json.loads(fields["labels"]), "health": json.loads(fields["health"])})
