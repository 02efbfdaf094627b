"""What people look at, in memory: workers, coordinators, counts; and what the janitor takes away."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from trio.lowlevel import checkpoint

from actors.model.errors import NotFound
from actors.model.ports import FullQueues
from actors.model.worker import CoordinatorView, WorkerView
from storage.memory.retention import expire, prune, prune_sessions
from storage.memory.rows import FINAL, HELD, OPEN, SessionRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import later, text
from storage.memory.wakeups import MemoryWakeups
from storage.overview import COUNTED

MOST_WORKERS = 1000  # that are shown
ENDED_SHOWN = 3600.0  # seconds that a worker is shown after its end


class MemoryOverview:
    """Implements the other part of the TaskStore port."""

    def __init__(self, tables: Tables, wakeups: MemoryWakeups) -> None:
        self._tables, self._wakeups = tables, wakeups

    async def known_handlers(self) -> dict[str, bool]:
        await checkpoint()
        now = self._tables.now()
        live = {
            name
            for row in self._tables.sessions.values()
            if row.state == "live" and row.lease_until > now
            for name in row.handlers
        }
        return {name: name in live for name in self._tables.handlers}

    async def refresh_statistics(self) -> bool:
        await checkpoint()
        return False

    async def full_queues(self, limit: int) -> FullQueues:
        await checkpoint()
        full = frozenset(one["name"] for one in self._queues() if one["depth"] >= limit)
        lanes = self._tables.lanes.values()
        found = {
            (lane.name, lane.queue): self._tables.queue(lane) for lane in lanes if self._tables.queue(lane) in full
        }
        return FullQueues(full, found)

    async def unserved(self, limit: int) -> list[str]:
        await checkpoint()
        now, found = self._tables.now(), set[str]()
        live = [one for one in self._tables.sessions.values() if one.state in OPEN and one.lease_until > now]
        for lane in self._tables.lanes.values():
            queue = self._tables.queue(lane)
            served = any(lane.name in one.handlers and (not one.queues or queue in one.queues) for one in live)
            if not served and any(row.run_at <= now for row in self._tables.queued(lane.id)):
                found.add(lane.name)
        return sorted(found)[:limit]

    async def stats(self) -> dict[str, Any]:
        await checkpoint()
        rows = self._tables.tasks.values()
        held = Counter("cancelling" if row.cancel_requested_at else row.state for row in rows if row.state in HELD)
        others = Counter(row.state for row in rows if row.state in FINAL or row.state == "blocked")
        queues = self._queues()
        depth, due = sum(one["depth"] for one in queues), sum(one["due"] for one in queues)
        tasks = {"queued": due, "scheduled": depth - due, "assigned": 0, "running": 0, "cancelling": 0, **held}
        tasks |= {state: min(others[state], COUNTED) for state in sorted(FINAL | {"blocked"})}
        workers = Counter(row.state for row in self._tables.sessions.values())
        return {"tasks": tasks, "queues": queues, "workers": dict(workers), "counted_up_to": COUNTED}

    def _queues(self) -> list[dict[str, Any]]:
        now = self._tables.now()
        found: dict[str, dict[str, Any]] = {}
        for lane in self._tables.lanes.values():
            name = self._tables.queue(lane)
            for row in self._tables.queued(lane.id):
                one = found.setdefault(name, {"name": name, "depth": 0, "due": 0, "oldest_age": None})
                one["depth"] += 1
                if row.run_at <= now:
                    one["due"] += 1
                    one["oldest_age"] = max(one["oldest_age"] or 0.0, (now - row.run_at).total_seconds())
        return [found[name] for name in sorted(found)]

    async def prune(self, limit: int) -> int:
        await checkpoint()
        if expire(self._tables, limit):
            self._wakeups.notify("final")
        count = prune(self._tables, limit)
        prune_sessions(self._tables)
        return count

    async def workers(self, *, include_ended: bool = False) -> list[WorkerView]:
        await checkpoint()
        since = later(self._tables.now(), -ENDED_SHOWN)
        newest = {
            row.worker: row
            for row in self._tables.sessions.values()
            if include_ended or row.state in OPEN or (row.ended_at is not None and row.ended_at > since)
        }
        return [self._view(newest[worker]) for worker in sorted(newest)[:MOST_WORKERS]]

    async def worker(self, worker_id: str) -> WorkerView | None:
        await checkpoint()
        return self._worker(worker_id)

    async def set_worker(self, worker_id: str, *, paused: bool | None = None, drain: bool | None = None) -> WorkerView:
        await checkpoint()
        changes = Changes()
        for number, row in self._tables.sessions.items():
            if row.worker == worker_id and row.state in OPEN:
                changes.sessions[number] = replace(
                    row,
                    paused=row.paused if paused is None else paused,
                    drain_requested=row.drain_requested if drain is None else drain,
                )
        self._tables.apply(changes)
        view = self._worker(worker_id)
        if view is None:
            raise NotFound(f"worker {worker_id} does not exist")
        self._wakeups.notify("wishes")
        return view

    async def coordinators(self) -> list[CoordinatorView]:
        await checkpoint()
        now = self._tables.now()
        held = Counter(row.coordinator_id for row in self._tables.sessions.values() if row.state in OPEN)
        return [
            CoordinatorView(
                id=row.id, address=row.address, version=row.version, started_at=row.started_at,
                seen_until=row.seen_until, alive=row.seen_until > now, workers=held[row.id],
            )
            for row in sorted(self._tables.coordinators.values(), key=lambda row: (row.started_at, row.id))
        ]  # fmt: skip

    def _worker(self, worker_id: str) -> WorkerView | None:
        rows = [row for row in self._tables.sessions.values() if row.worker == text(worker_id)]
        return self._view(rows[-1]) if rows else None

    def _view(self, row: SessionRow) -> WorkerView:
        """worker.sql."""
        return WorkerView(
            id=row.worker, name=row.name, state=row.state, slots=row.slots,
            running=len(self._tables.held(row.session_id)), queues=list(row.queues), handlers=list(row.handlers),
            labels=json.loads(row.labels), version=row.version, address=row.http_address,
            connected_at=row.connected_at, last_seen=row.last_seen, health=json.loads(row.health),
            coordinator=row.coordinator_id, paused=row.paused, drain_requested=row.drain_requested,
            lease_until=row.lease_until, now=self._tables.now(), session=row.session_id,
        )  # fmt: skip
