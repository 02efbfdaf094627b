"""Sessions of workers: opened, resumed with a secret, renewed until convicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from actors.model.ports import History, Renewed, Wishes
from actors.model.worker import Held, Session, WorkerInfo
from storage.memory.rows import OPEN, SessionRow, TaskRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import indexed, later, stored, text
from storage.sessions import declared, health_text

MOST_WISHES = 10_000  # that one renewal passes on


def open_session(tables: Tables, worker: WorkerInfo, secret_hash: bytes, coordinator_id: str, lease: float) -> Session:
    now = tables.now()
    before = [one for one in tables.sessions.values() if (one.worker, one.secret_hash) == (worker.id, secret_hash)]
    former = max(before, key=lambda one: one.session_id, default=None)  # what was wished of this process outlives it
    row = SessionRow(
        session_id=tables.next_id("session"),
        worker=indexed(worker.id),
        name=text(worker.name),
        secret_hash=secret_hash,
        coordinator_id=text(coordinator_id),
        lease_until=later(now, lease),
        connected_at=now,
        last_seen=now,
        paused=former is not None and former.paused,
        drain_requested=former is not None and former.drain_requested,
        **_declared(worker),
    )
    tables.apply(Changes(sessions={row.session_id: row}))
    return Session(id=row.session_id, epoch=row.epoch, worker=worker.id)


def resume_session(
    tables: Tables, session_id: int, worker: WorkerInfo, secret_hash: bytes, coordinator_id: str, lease: float
) -> Session | None:
    now, row = tables.now(), tables.sessions.get(session_id)
    declaration = _declared(worker)
    if row is None or row.secret_hash != secret_hash or row.state not in OPEN:
        return None
    new = replace(
        row, epoch=row.epoch + 1, coordinator_id=text(coordinator_id), last_seen=now,
        lease_until=max(row.lease_until, later(now, lease)), **declaration,
    )  # fmt: skip
    tables.apply(Changes(sessions={session_id: new}))
    return Session(id=session_id, epoch=new.epoch, worker=worker.id)


def _declared(worker: WorkerInfo) -> dict[str, Any]:
    slots, queues, handlers, labels, version, http_address = declared(worker)
    return {
        "slots": slots,
        "queues": tuple(map(text, queues)),
        "handlers": tuple(map(text, handlers)),
        "labels": stored(labels),
        "version": text(version),
        "http_address": None if http_address is None else text(http_address),
    }


def held_of(task: TaskRow) -> Held:
    assert task.lease_key is not None
    return Held(task.id, task.attempt, task.lease_key)


def renew(
    tables: Tables,
    sessions: Sequence[tuple[int, int, float]],
    lease: float,
    health: Mapping[int, Mapping[str, Any]],
) -> Renewed:
    history = History(1, tables.timeline, tables.position)  # before: what is acknowledged below comes after it
    now, changes, renewed, moved = tables.now(), Changes(), [], set[int]()
    for number, epoch, age in sorted(sessions):
        row = tables.sessions.get(number)
        told = stored(health_text(health.get(number, {})))
        if row is None or row.epoch != epoch or row.state not in OPEN:
            if row is not None and row.epoch > epoch and row.state in OPEN:
                moved.add(number)
            continue
        until = max(row.lease_until, later(now, lease - age))
        renewed.append(row)
        changes.sessions[number] = replace(row, lease_until=until, last_seen=later(now, -age), health=told)
    tables.apply(changes)
    wishes = [
        (row.session_id, task)
        for row in renewed
        for task in tables.held(row.session_id)
        if task.cancel_requested_at is not None
    ]
    cancels: dict[int, list[Held]] = {}
    for number, task in wishes[:MOST_WISHES]:
        cancels.setdefault(number, []).append(held_of(task))
    return Renewed(
        sessions=frozenset(row.session_id for row in renewed),
        wishes=Wishes(
            cancels,
            frozenset(row.session_id for row in renewed if row.paused),
            frozenset(row.session_id for row in renewed if row.drain_requested),
        ),
        server_started=tables.server_started,
        history=history,
        clock=now.timestamp(),
        moved=frozenset(moved),
    )


def begin_drain(tables: Tables, session_id: int, epoch: int) -> None:
    _change(tables, session_id, epoch, lambda row, _: replace(row, state="draining") if row.state == "live" else row)


def close_session(tables: Tables, session_id: int, epoch: int) -> None:
    _change(tables, session_id, epoch, lambda row, now: replace(row, state="closed", ended_at=now))


def _change(tables: Tables, session_id: int, epoch: int, change: Callable[[SessionRow, datetime], SessionRow]) -> None:
    row = tables.sessions.get(session_id)
    if row is not None and row.epoch == epoch and row.state in OPEN:
        tables.apply(Changes(sessions={session_id: change(row, tables.now())}))


def convict(tables: Tables, sessions: Sequence[tuple[int, int]], coordinator_id: str, until: float | None) -> list[int]:
    """Not those that hold an exclusive task: they wait for their lease."""
    now, changes = tables.now(), Changes()
    if until is not None and now.timestamp() > until:
        return []
    for number, epoch in sorted(sessions):
        row = tables.sessions.get(number)
        if row is None or (row.epoch, row.coordinator_id) != (epoch, coordinator_id) or row.state not in OPEN:
            continue
        if not any(task.exclusive for task in tables.held(number)):
            changes.sessions[number] = replace(row, state="dead", ended_at=now)
    tables.apply(changes)
    return list(changes.sessions)
