"""T3, T4, T5, T7, T9, T12, T16, T17: outcomes that workers report, accepted once and fenced when superseded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from actors.model.columns import Outcome, Outcomes, Verdict
from actors.model.errors import BadValue
from actors.model.task import DEFAULT_MAX_TRIES
from storage.memory.ends import ended, next_state
from storage.memory.rows import HELD, AttemptRow, TaskRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import hashed, jsonb, member, number, shown, text, time
from storage.outcomes import substitute, texts

log = logging.getLogger(__name__)

NAMES = ("succeeded", "failed", "failed", "timed_out", "cancelled", "crashed", "released", "snoozed", "refused")
TRIED = frozenset({Outcome.FAILED, Outcome.FAILED_FINAL, Outcome.TIMED_OUT})
BEGAN = TRIED | {Outcome.CRASHED}
SUPERSEDED = "a newer attempt or a final state had superseded this one"


@dataclass(frozen=True, slots=True)
class Reported:
    """One outcome."""

    task: int
    attempt: int
    key: bytes
    kind: int
    body: str

    @property
    def hash(self) -> int:
        return hashed(f"{self.kind}{self.body}")


def complete(tables: Tables, outcomes: Outcomes) -> list[Verdict]:
    """One verdict each, in order; taken in the order of ids."""
    columns = zip(outcomes.ids, outcomes.attempts, outcomes.key_index, outcomes.kinds, texts(outcomes), strict=True)
    given = [Reported(task, attempt, outcomes.keys[key], kind, body) for task, attempt, key, kind, body in columns]
    order = sorted(range(len(given)), key=lambda place: given[place].task)
    verdicts = [Verdict.FENCED] * len(given)
    for place, verdict in zip(order, _complete(tables, [given[place] for place in order]), strict=True):
        verdicts[place] = verdict
    return verdicts


def _complete(tables: Tables, given: Sequence[Reported]) -> list[Verdict]:
    """One that can't be held ends up alone, and gets an outcome that can."""
    if not given:
        return []
    try:
        return _try(tables, given)
    except BadValue as error:
        if len(given) > 1:
            half = len(given) // 2
            return [*_complete(tables, given[:half]), *_complete(tables, given[half:])]
        log.warning("an outcome of task %d was made storable: %s", given[0].task, error)
    kind, body = substitute(given[0].kind, given[0].body)
    try:
        return _try(tables, [replace(given[0], kind=kind, body=body)])
    except BadValue as error:
        log.error("an outcome of task %d can't be stored: %s", given[0].task, error)
        return [Verdict.FENCED]


def _try(tables: Tables, given: Sequence[Reported]) -> list[Verdict]:
    good = [one for one in given if one.kind == Outcome.SUCCEEDED]
    other = [one for one in given if one.kind != Outcome.SUCCEEDED]
    accepted = _succeed(tables, good) | _settle(tables, other)
    verdicts = [Verdict.ACCEPTED if id(one) in accepted else Verdict.FENCED for one in given]
    doubtful = [place for place, verdict in enumerate(verdicts) if verdict is Verdict.FENCED]
    before = _judge(tables, [given[place] for place in doubtful])
    for place, known in zip(doubtful, before, strict=True):
        if known:
            verdicts[place] = Verdict.ACCEPTED_BEFORE
    return verdicts


def _held(tables: Tables, given: Sequence[Reported]) -> list[tuple[Reported, TaskRow]]:
    """Those whose attempt is out, each attempt once; all texts are checked."""
    found: dict[int, tuple[Reported, TaskRow]] = {}
    for one in given:
        text(one.body)
        row = tables.tasks.get(one.task)
        if row is None or row.state not in HELD or (row.attempt, row.lease_key) != (one.attempt, one.key):
            continue
        found.setdefault(row.id, (one, row))
    return list(found.values())


def _succeed(tables: Tables, given: Sequence[Reported]) -> set[int]:
    """succeed.sql; the identities of those accepted."""
    now, changes, held = tables.now(), Changes(), _held(tables, given)
    for one, task in held:
        changes.tasks[task.id] = replace(
            task, state="succeeded", result=shown(jsonb(one.body)) if one.body else None, result_hash=one.hash,
            finished_at=now, started_at=task.started_at or task.assigned_at, error=None, ack_by=None, exec_until=None,
        )  # fmt: skip
    if held:
        tables.apply(changes)
    return {id(one) for one, _ in held}


def _settle(tables: Tables, given: Sequence[Reported]) -> set[int]:
    """settle.sql; the identities of those accepted."""
    now, changes, held = tables.now(), Changes(), _held(tables, given)
    for one, task in held:
        _settle_one(tables, now, changes, one, task)
    if held:
        tables.apply(changes)
    return {id(one) for one, _ in held}


def _settle_one(tables: Tables, now: datetime, changes: Changes, one: Reported, task: TaskRow) -> None:
    kind, body = one.kind, jsonb(one.body or "{}")
    crash = tables.recent_crashes(task.id, now) + 1 if kind == Outcome.CRASHED else 0
    error = _error(body)
    tries_end = task.tries + 1 >= tables.max_tries(task, DEFAULT_MAX_TRIES)
    spent = kind == Outcome.FAILED_FINAL or (kind in (Outcome.FAILED, Outcome.TIMED_OUT) and tries_end)
    changes.tasks[task.id] = ended(
        task,
        now,
        state=next_state(task, spent=spent, crashed=kind == Outcome.CRASHED, crash=crash),
        wait=_wait(tables, now, kind, body, task, crash),
        keeps_place=kind in (Outcome.CRASHED, Outcome.RELEASED),
        began=kind in BEGAN,
        tried=kind in TRIED,
        crashed=kind == Outcome.CRASHED,
        undelivered=kind == Outcome.REFUSED,
        snoozed=kind == Outcome.SNOOZED,
        failed=kind in BEGAN,
        error=error if kind in BEGAN else None,
        outcome_hash=one.hash,
    )
    evidence = body.get("evidence", _NOTHING) if isinstance(body, dict) else _NOTHING
    changes.attempts.append(
        AttemptRow(
            id=tables.next_id("attempt"), task_id=task.id, attempt=task.attempt, lease_key=task.lease_key,
            outcome=NAMES[kind], outcome_hash=one.hash, session_id=task.session_id, assigned_at=task.assigned_at,
            started_at=task.started_at or (task.assigned_at if kind in BEGAN else None), ended_at=now,
            error=None if error == "{}" else error, evidence=None if evidence is _NOTHING else shown(evidence),
        )
    )  # fmt: skip


_NOTHING = object()


def _error(body: Any) -> str:
    if isinstance(body, dict):
        return shown({name: value for name, value in body.items() if name not in ("after", "until", "evidence")})
    return shown({"type": "Error", "message": shown(body)[:2000], "traceback": None})


def _wait(tables: Tables, now: datetime, kind: int, body: Any, task: TaskRow, crash: int) -> float:
    """Seconds until the next attempt may begin."""
    after = member(body, "after")
    if kind in (Outcome.FAILED, Outcome.TIMED_OUT):
        return tables.backoff(task, task.tries + 1) if after is None else number(after)
    if crash > 1:
        return 1.0
    if kind == Outcome.SNOOZED:
        until = member(body, "until")
        if after is not None:
            return number(after)
        return 0.0 if until is None else (time(until) - now).total_seconds()
    if kind == Outcome.REFUSED:
        return 60.0 if task.undelivered + 1 >= 10 else 0.2
    return 0.0


def _judge(tables: Tables, given: Sequence[Reported]) -> list[bool]:
    """judge.sql: whether each was accepted before; the others are kept as evidence, once each."""
    now, changes, before = tables.now(), Changes(), []
    for one in given:
        text(one.body)
        kind, body = substitute(one.kind, one.body)
        hashes = one.hash, hashed(f"{kind}{body}")
        known = _accepted_before(tables, one, hashes)
        before.append(known)
        task = tables.tasks.get(one.task)
        if not known and task is not None and not _kept(tables, changes, one):
            changes.attempts.append(_evidence(tables, now, one, task, body))
    if changes.attempts:
        tables.apply(changes)
    return before


def _accepted_before(tables: Tables, one: Reported, hashes: tuple[int, int]) -> bool:
    task = tables.tasks.get(one.task)
    if task is not None and (task.attempt, task.lease_key) == (one.attempt, one.key) and task.result_hash in hashes:
        return True
    return any(
        end.accepted and (end.attempt, end.lease_key) == (one.attempt, one.key) and end.outcome_hash in hashes
        for end in tables.attempts.get(one.task, ())
    )


def _kept(tables: Tables, changes: Changes, one: Reported) -> bool:
    """Whether it is evidence already."""
    known = [*tables.attempts.get(one.task, ()), *changes.attempts]
    wanted = one.task, one.attempt, one.key, one.hash
    return any(
        not end.accepted and (end.task_id, end.attempt, end.lease_key, end.outcome_hash) == wanted for end in known
    )


def _evidence(tables: Tables, now: datetime, one: Reported, task: TaskRow, safe: str) -> AttemptRow:
    sessions = [
        end.session_id
        for end in tables.attempts.get(one.task, ())
        if end.accepted and (end.attempt, end.lease_key) == (one.attempt, one.key)
    ]
    if not sessions and (task.attempt, task.lease_key) == (one.attempt, one.key):
        sessions = [task.session_id]
    error = {name: value for name, value in jsonb(safe).items() if name not in ("after", "until")}
    seen = {"reported": one.body[:2000], "why": SUPERSEDED, "state": task.state, "newest_attempt": task.attempt}
    return AttemptRow(
        id=tables.next_id("attempt"), task_id=one.task, attempt=one.attempt, lease_key=one.key,
        outcome=NAMES[one.kind], accepted=False, outcome_hash=one.hash, session_id=sessions[0] if sessions else None,
        ended_at=now, error=shown(error) if one.kind and error else None, evidence=shown(seen),
    )  # fmt: skip
