"""What is known of one task, for its explanation: one statement that reads a bounded part of anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

from actors.model.explain import COUNTED, Facts, LimitFact, ParentFact, PauseFact, WorkerFact
from actors.model.ports import TaskStore
from actors.model.task import Task
from storage.pool import Pool
from storage.queries import sql


class PostgresExplain:
    """Reads the facts of a task."""

    def __init__(self, pool: Pool, tasks: TaskStore, ageing: float) -> None:
        self._pool, self._tasks, self._ageing = pool, tasks, ageing

    async def facts(self, task_id: int) -> Facts | None:
        """None: there is no such task."""
        task = await self._tasks.get(task_id)
        rows = await self._pool.fetch_fitted(sql("explain"), task_id, COUNTED + 1, self._ageing)
        if task is None or not rows:
            return None
        row = rows[0]
        queue = _read(row["queue"])
        return Facts(
            task=task,
            attempts=await self._tasks.attempts(task_id),
            parents=[ParentFact(**one) for one in _read(row["parents"]) or ()],
            parents_left=row["parents_left"],
            queue_pause=_pause(queue["paused_at"], queue["paused_reason"]) if queue and queue["paused"] else None,
            handler_pause=_pause(name["paused_at"], name["reason"]) if (name := _read(row["paused_name"])) else None,
            coordinators=row["coordinators"],
            workers=[WorkerFact(**one) for one in _read(row["workers"]) or ()],
            limits=_limits(task, queue, row) if queue else (),
            ahead=row["ahead"],
            failed_in=row["failed_in"],
            preferred=row["preferred"],
            coordinator=row["coordinator"],
            lease_until=row["lease_until"],
            ack_by=row["ack_by"],
        )


def _limits(task: Task, queue: Mapping[str, Any], row: asyncpg.Record) -> list[LimitFact]:
    found: list[LimitFact] = []
    name, key = f"queue {task.queue}", f"key {task.concurrency_key} of queue {task.queue}"
    if queue["concurrency"] is not None:
        found.append(LimitFact(code="concurrency_limit", whose=name, most=queue["concurrency"], **_out(row["out"])))
    if queue["concurrency_per_key"] is not None and task.concurrency_key is not None:
        most = queue["concurrency_per_key"]
        found.append(LimitFact(code="key_limit", whose=key, most=most, **_out(row["key_out"])))
    if queue["rate_limit"] is not None:
        rate = _rate(row["rate"], queue["rate_period"])
        found.append(LimitFact(code="rate_limit", whose=name, most=queue["rate_limit"], **rate))
    if queue["key_rate_limit"] is not None and task.concurrency_key is not None:
        rate = _rate(row["key_rate"], queue["key_rate_period"])
        found.append(LimitFact(code="key_rate_limit", whose=key, most=queue["key_rate_limit"], **rate))
    return found


def _out(text: str) -> dict[str, Any]:
    known = _read(text)
    return {"used": known["used"], "tasks": known["tasks"] or ()}


def _rate(text: str | None, period: float) -> dict[str, Any]:
    known = _read(text)
    if known is None:
        return {"used": 0, "period": period}
    return {"used": known["used"], "period": period, "refill": datetime.fromisoformat(known["refill"])}


def _pause(since: str, reason: str | None) -> PauseFact:
    return PauseFact(since=datetime.fromisoformat(since), reason=reason)


def _read(text: str | None) -> Any:
    return None if text is None else json.loads(text)
