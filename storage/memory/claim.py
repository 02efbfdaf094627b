"""T1: due tasks go to sessions that may get work, by priority and time; a retry to another than before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from actors.model.columns import EXCLUSIVE, SOLO, Assignment
from actors.model.ports import Claimed, ClaimOffer
from actors.model.task import AGEING
from storage.dispatch import timeout_ms
from storage.memory.rows import TaskRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import contains, later

OTHERS_FIRST = 10.0  # seconds that a retry is left to others than the session that failed it
SUSPECT = 2  # crashes from which on a task runs alone


def rank(task: TaskRow) -> tuple[datetime, int, int]:
    """Tasks in the order in which they go out."""
    return later(task.run_at, task.priority * AGEING), task.priority, task.id


def is_recent(task: TaskRow, now: datetime) -> bool:
    """A session failed it, and others come first still."""
    return task.failed_in is not None and task.run_at >= later(now, -OTHERS_FIRST)


def avoidable(task: TaskRow, sessions: Sequence[int], now: datetime) -> bool:
    """It should not go where it failed, and one of these turns is of another session."""
    return is_recent(task, now) and any(session != task.failed_in for session in sessions)


def exchanged(shunned: Sequence[int | None], sessions: Sequence[int]) -> list[int | None]:
    """callboard_turns: places in `sessions` for tasks in order, each with the session that it must not go to.

    One that would goes elsewhere by an exchange with the nearest other task, or takes a turn that is left over.
    """
    turns: list[int | None] = list(range(len(sessions)))
    for place, mine in enumerate(shunned):
        turn = turns[place]
        if mine is None or turn is None or sessions[turn] != mine:
            continue
        others = [
            other
            for other, its in enumerate(turns)
            if its is not None and sessions[its] != mine and (other >= len(shunned) or shunned[other] != mine)
        ]
        turns[place] = None
        if others:
            nearest = min(others, key=lambda other: abs(other - place))
            turns[place], turns[nearest] = turns[nearest], turn
    return turns[: len(shunned)]


class Claims:
    """What goes out."""

    def __init__(self, tables: Tables, default_timeout: float | None) -> None:
        self._tables, self._default_timeout = tables, default_timeout

    def claim(self, offer: ClaimOffer) -> tuple[list[Claimed], int]:
        tables, now = self._tables, self._tables.now()
        turns = [slot for slot in offer.slots if self._may_work(*offer.sessions[slot], offer.claim_margin)]
        sessions = [offer.sessions[slot][0] for slot in turns]
        picked = self._candidates(offer.lanes, sessions, now)
        shunned = [task.failed_in if avoidable(task, sessions, now) else None for task in picked]
        changes = Changes()
        given: dict[int, list[TaskRow]] = {}
        for turn, task in zip(exchanged(shunned, sessions), picked, strict=True):
            if turn is None:
                continue
            row = replace(
                task, state="assigned", attempt=task.attempt + 1, lease_key=offer.lease_key,
                session_id=sessions[turn], assigned_at=now, started_at=None, exec_until=None, progress=None,
                ack_by=later(now, offer.ack_window),
            )  # fmt: skip
            changes.tasks[task.id] = row
            given.setdefault(turns[turn], []).append(row)
        tables.apply(changes)
        return self._shares(given, offer.lease_key), len(picked)

    def _candidates(self, lanes: Sequence[int], sessions: Sequence[int], now: datetime) -> list[TaskRow]:
        """The first that are due and that these sessions may have, as many as there are turns."""
        due = []
        for lane in dict.fromkeys(lanes):
            serving: list[int] | None = None
            for task in self._tables.queued(lane):
                if task.run_at > now or (task.expires_at is not None and task.expires_at <= now):
                    continue
                if is_recent(task, now) and not avoidable(task, sessions, now):
                    serving = self._serving(lane, now) if serving is None else serving
                    if any(session != task.failed_in for session in serving):
                        continue  # it waits for one of those
                due.append(task)
        due.sort(key=rank)
        return due[: len(sessions)]

    def _serving(self, lane: int, now: datetime) -> list[int]:
        """Sessions, of any coordinator, that could run tasks of this lane."""
        row = self._tables.lanes.get(lane)
        if row is None:
            return []
        queue = self._tables.queue(row)
        return [
            one.session_id
            for one in self._tables.sessions.values()
            if one.state == "live" and not one.paused and not one.drain_requested and one.lease_until > now
            and row.name in one.handlers and (not one.queues or queue in one.queues)
            and contains(json.loads(one.labels), json.loads(row.requirements))
        ]  # fmt: skip

    def claimed(self, lease_key: bytes, sessions: Sequence[tuple[int, int]]) -> list[Claimed]:
        """What an earlier claim got and is still out, in the order in which it handed out."""
        given: dict[int, list[TaskRow]] = {}
        for slot, (session, _) in enumerate(sessions):
            rows = [task for task in self._tables.held(session) if task.lease_key == lease_key]
            if rows:
                given[slot] = sorted(rows, key=rank)
        return self._shares(given, lease_key)

    def at_fault(self, lane: int, lease_key: bytes, sessions: Sequence[int]) -> TaskRow | None:
        """What a claim of one task got, else the next that is due."""
        got = [task for session in sessions for task in self._tables.held(session) if task.lease_key == lease_key]
        if got:
            return next((task for task in got if task.state == "assigned"), None)
        now = self._tables.now()
        due = [
            task
            for task in self._tables.queued(lane)
            if task.run_at <= now and (task.expires_at is None or task.expires_at > now)
        ]
        return min(due, key=rank, default=None)

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
