"""T1: due tasks go to sessions that may get work, by priority, then time, then id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from actors.model.columns import EXCLUSIVE, SOLO, Assignment
from actors.model.ports import Claimed, ClaimOffer
from storage.dispatch import timeout_ms
from storage.memory.rows import TaskRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import later

SUSPECT = 2  # crashes from which on a task runs alone


class Claims:
    """What goes out."""

    def __init__(self, tables: Tables, default_timeout: float | None) -> None:
        self._tables, self._default_timeout = tables, default_timeout

    def claim(self, offer: ClaimOffer) -> tuple[list[Claimed], int]:
        tables, now = self._tables, self._tables.now()
        turns = [slot for slot in offer.slots if self._may_work(*offer.sessions[slot], offer.claim_margin)]
        due = [
            task
            for lane in dict.fromkeys(offer.lanes)
            for task in tables.queued(lane)
            if task.run_at <= now and (task.expires_at is None or task.expires_at > now)
        ]
        due.sort(key=lambda task: (task.priority, task.run_at, task.id))
        changes = Changes()
        given: dict[int, list[TaskRow]] = {}
        for slot, task in zip(turns, due, strict=False):
            row = replace(
                task, state="assigned", attempt=task.attempt + 1, lease_key=offer.lease_key,
                session_id=offer.sessions[slot][0], assigned_at=now, started_at=None, exec_until=None, progress=None,
                ack_by=later(now, offer.ack_window),
            )  # fmt: skip
            changes.tasks[task.id] = row
            given.setdefault(slot, []).append(row)
        tables.apply(changes)
        return self._shares(given, offer.lease_key), min(len(turns), len(due))

    def claimed(self, lease_key: bytes, sessions: Sequence[tuple[int, int]]) -> list[Claimed]:
        """What an earlier claim got and is still out, in the order in which it handed out."""
        given: dict[int, list[TaskRow]] = {}
        for slot, (session, _) in enumerate(sessions):
            rows = [task for task in self._tables.held(session) if task.lease_key == lease_key]
            if rows:
                given[slot] = sorted(rows, key=lambda task: (task.priority, task.run_at, task.id))
        return self._shares(given, lease_key)

    def _may_work(self, session: int, epoch: int, margin: float) -> bool:
        row = self._tables.sessions.get(session)
        return (
            row is not None
            and (row.epoch, row.state) == (epoch, "live")
            and not (row.paused or row.drain_requested)
            and row.lease_until > later(self._tables.now(), margin)
        )

    def _shares(self, given: dict[int, list[TaskRow]], lease_key: bytes) -> list[Claimed]:
        return [Claimed(slot, self._assignment(given[slot], lease_key)) for slot in sorted(given)]

    def _assignment(self, rows: Sequence[TaskRow], lease_key: bytes) -> Assignment:
        lanes = list(dict.fromkeys(row.lane_id for row in rows))
        payloads = [row.args.encode() for row in rows]
        return Assignment(
            lease_key,
            [row.id for row in rows],
            [row.attempt for row in rows],
            [self._tables.lanes[lane].name for lane in lanes],
            [lanes.index(row.lane_id) for row in rows],
            self._timeouts(rows),
            [row.exclusive * EXCLUSIVE + (row.crashes >= SUSPECT) * SOLO for row in rows],
            list(map(len, payloads)),
            b"".join(payloads),
        )

    def _timeouts(self, rows: Iterable[TaskRow]) -> list[int]:
        default = timeout_ms(self._default_timeout or 0.0)
        return [timeout_ms(self._tables.timeout(row) or 0.0) or default for row in rows]
