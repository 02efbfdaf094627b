"""T6, T8, T9: what ended sessions held, and what a clock decides. All of it judged by the same sight of the tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from actors.model.ports import Swept
from actors.model.task import DEFAULT_MAX_TRIES
from actors.model.worker import Held
from storage.memory.ends import ended, next_state
from storage.memory.rows import OPEN, AttemptRow, SessionRow, TaskRow
from storage.memory.sessions import held_of
from storage.memory.tables import Changes, Tables
from storage.memory.values import later, shown

CONVICTED_AT_ONCE = 100
OVERDUE = 10.0  # seconds past its time after which an attempt is taken from its worker
CLOCK_SLACK = 2.0  # seconds: a lease that lies further ahead than it can was given before the clock stepped back


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt that leaves its session, and why: session, unacknowledged, overdue."""

    task: TaskRow
    session: SessionRow
    why: str

    @property
    def accepted(self) -> bool:
        """Whether its worker has taken it, so that it may have begun."""
        return self.task.state == "running" or self.task.ack_by is None

    @property
    def outcome(self) -> str:
        if self.why == "overdue":
            return "timed_out"
        if self.why == "session" and self.session.state == "closed":
            return "released"
        return "lost" if self.why == "session" and self.accepted else "undelivered"


def sweep(
    tables: Tables,
    limit: int,
    coordinator_id: str,
    lease: float | None,
    until: float | None,
    sent: Collection[bytes],
    linked: Collection[int],
) -> tuple[Swept, int]:
    """What it did, and how many of the tasks are final now."""
    now, changes = tables.now(), Changes()
    lost = list(islice(_of_ended_sessions(tables, limit), limit))
    convicted: list[int] = []
    if lease is not None:
        in_time = until is None or now.timestamp() <= until
        if in_time:
            mine = (one for one in tables.sessions.values() if one.coordinator_id == coordinator_id)
            known = [one for one in mine if one.state in OPEN and one.session_id in linked]
            lost += islice(_late(tables, now, limit, known, sent), limit)
        convicted = _judge_leases(tables, now, lease, in_time, changes)
    for one in sorted(lost, key=lambda one: one.task.id):
        _take(tables, now, changes, one)
    tables.apply(changes)
    taken: dict[int, list[Held]] = {}
    for one in lost:
        if one.why != "session":
            taken.setdefault(one.session.session_id, []).append(held_of(one.task))
    final = sum(row is not None and row.state != "queued" for row in changes.tasks.values())
    return Swept(len(changes.tasks), convicted or (), taken), final


def _of_ended_sessions(tables: Tables, limit: int) -> Iterator[Lost]:
    for session in tables.sessions.values():
        if session.state not in OPEN and not session.swept:
            yield from (Lost(task, session, "session") for task in tables.held(session.session_id)[:limit])


def _late(
    tables: Tables, now: datetime, limit: int, sessions: Iterable[SessionRow], sent: Collection[bytes]
) -> Iterator[Lost]:
    """Of these sessions: what nobody acknowledged, and what is past its time."""
    for session in sessions:
        found = [Lost(task, session, why) for task in tables.held(session.session_id) if (why := _why(task, now, sent))]
        yield from found[:limit]


def _why(task: TaskRow, now: datetime, sent: Collection[bytes]) -> str | None:
    if task.state == "assigned":
        unanswered = task.ack_by is not None and task.ack_by < now
        return "unacknowledged" if unanswered and not (task.exclusive and task.lease_key in sent) else None
    return "overdue" if task.exec_until is not None and task.exec_until < later(now, -OVERDUE) else None


def _judge_leases(tables: Tables, now: datetime, lease: float, in_time: bool, changes: Changes) -> list[int]:
    """Convicts those whose lease ran out, when asked in time; clamps what a step of the clock left too far ahead."""
    convicted: list[int] = []
    for number in sorted(tables.sessions):
        row = tables.sessions[number]
        if row.state not in OPEN:
            continue
        if row.lease_until > later(now, lease + CLOCK_SLACK):
            changes.sessions[number] = replace(row, lease_until=later(now, lease))
        elif in_time and row.lease_until < now and len(convicted) < CONVICTED_AT_ONCE:
            changes.sessions[number] = replace(row, state="dead", ended_at=now)
            convicted.append(number)
    return convicted


def _take(tables: Tables, now: datetime, changes: Changes, lost: Lost) -> None:
    task, kind = lost.task, lost.outcome
    crash = tables.recent_crashes(task.id, now) + 1 if kind == "lost" else 0
    spent = kind == "timed_out" and task.tries + 1 >= tables.max_tries(task, DEFAULT_MAX_TRIES)
    error = _error(lost)
    changes.tasks[task.id] = ended(
        task,
        now,
        state=next_state(task, spent=spent, crashed=kind == "lost", crash=crash),
        wait=_wait(tables, lost, crash),
        keeps_place=kind != "timed_out",
        began=lost.accepted,
        tried=kind == "timed_out",
        crashed=kind == "lost",
        undelivered=kind == "undelivered",
        failed=kind == "timed_out",
        error=error,
    )
    seen = {"worker": lost.session.worker, "session_state": lost.session.state, "why": lost.why}
    changes.attempts.append(
        AttemptRow(
            id=tables.next_id("attempt"), task_id=task.id, attempt=task.attempt, lease_key=task.lease_key,
            outcome=kind, session_id=task.session_id, assigned_at=task.assigned_at, ended_at=now, error=error,
            started_at=(task.started_at or task.assigned_at) if lost.accepted else None, evidence=shown(seen),
        )
    )  # fmt: skip


def _wait(tables: Tables, lost: Lost, crash: int) -> float:
    if lost.outcome == "timed_out":
        return tables.backoff(lost.task, lost.task.tries + 1)
    if crash > 1:
        return 1.0
    return 60.0 if lost.outcome == "undelivered" and lost.task.undelivered + 1 >= 10 else 0.0


def _error(lost: Lost) -> str | None:
    match lost.outcome:
        case "timed_out":
            kind, message = "TimedOut", "the attempt did not end by its timeout"
        case "lost":
            kind, message = "WorkerLost", f"worker {lost.session.worker} was lost while it held this attempt"
        case _:
            return None
    return shown({"type": kind, "message": message, "traceback": None})
