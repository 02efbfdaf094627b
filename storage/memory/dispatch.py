"""The DispatchStore in memory: one checkpoint before each verb, then all of it at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trio.lowlevel import checkpoint

from actors.model.columns import Outcomes, Verdict
from actors.model.errors import StorageError
from actors.model.lane import Lane
from actors.model.ports import Claimed, ClaimOffer, LimitedShares, Posted, Renewed, Swept
from actors.model.task import NewTask
from actors.model.worker import CoordinatorView, HandlerInfo, Held, Session, WorkerInfo
from storage.memory import marks, submit
from storage.memory import outcomes as ends
from storage.memory import sessions as leases
from storage.memory import sweep as sweeps
from storage.memory.claim import Claims
from storage.memory.rows import CoordinatorRow, HandlerRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import indexed, later, stored, text
from storage.memory.wakeups import MemoryWakeups
from storage.sanitize import storable

DAY = 86_400.0  # seconds


class MemoryDispatch:
    """Implements the port."""

    def __init__(self, tables: Tables, wakeups: MemoryWakeups, default_timeout: float | None) -> None:
        self._tables, self._wakeups, self._default_timeout = tables, wakeups, default_timeout
        self._claims = Claims(tables, default_timeout)

    # --- coordinators -----------------------------------------------------------------------------

    async def sign_in(self, coordinator_id: str, address: str, version: str, *, ttl: float) -> list[CoordinatorView]:
        await checkpoint()
        now, known = self._tables.now(), self._tables.coordinators
        started = known[coordinator_id].started_at if coordinator_id in known else now
        me = CoordinatorRow(
            id=indexed(coordinator_id), address=text(address), version=text(version), started_at=started,
            seen_until=later(now, ttl),
        )  # fmt: skip
        others = [row for row in known.values() if row.id != coordinator_id]
        gone = {row.id: None for row in others if row.seen_until < later(now, -DAY)}
        self._tables.apply(Changes(coordinators={me.id: me, **gone}))
        return [_view(row) for row in (me, *(row for row in others if row.seen_until > now))]

    async def sign_out(self, coordinator_id: str) -> None:
        await checkpoint()
        if coordinator_id in self._tables.coordinators:
            self._tables.apply(Changes(coordinators={coordinator_id: None}))

    # --- lanes and handlers -----------------------------------------------------------------------

    async def declare(self, handlers: Sequence[HandlerInfo]) -> None:
        await checkpoint()
        now, changes = self._tables.now(), Changes()
        for handler in handlers:
            if handler.name in changes.handlers:
                raise StorageError(f"handler {handler.name} was declared twice at once")
            row = HandlerRow(
                name=indexed(handler.name), declared_at=now, max_tries=handler.max_tries, timeout=handler.timeout,
                queue=None if handler.queue is None else text(handler.queue),
                backoff=stored(json.dumps(dict(handler.backoff))) if handler.backoff else None,
                args=stored(json.dumps(dict(handler.args))),
            )  # fmt: skip
            old = self._tables.handlers.get(row.name)
            if old is None or replace(old, declared_at=now) != row:
                changes.handlers[row.name] = row
        self._tables.apply(changes)

    async def lanes(self) -> list[Lane]:
        await checkpoint()
        return [
            Lane(row.id, row.name, self._tables.queue(row), json.loads(row.requirements), row.keyed, row.placed)
            for row in self._tables.lanes.values()
        ]

    # --- claiming ---------------------------------------------------------------------------------

    async def claim(
        self,
        *,
        lease_key: bytes,
        lanes: Sequence[int],
        sessions: Sequence[tuple[int, int]],
        slots: Sequence[int],
        ack_window: float,
        claim_margin: float,
    ) -> tuple[list[Claimed], int]:
        await checkpoint()
        return self._claims.claim(ClaimOffer(lease_key, lanes, sessions, slots, ack_window, claim_margin))

    async def claim_limited(self, offer: ClaimOffer) -> LimitedShares:
        await checkpoint()
        return LimitedShares()  # nothing is special here

    async def post(self, tasks: Sequence[NewTask], offer: ClaimOffer) -> Posted:
        await checkpoint()
        answers = submit.store(self._tables, self._wakeups, tasks)
        return Posted(answers, *self._claims.claim(offer))

    async def set_aside(self, lane: int, lease_key: bytes, sessions: Sequence[int], why: str) -> int | None:
        await checkpoint()
        row = self._claims.at_fault(lane, lease_key, sessions)
        if row is None:
            return None
        error = {"type": "Unclaimable", "message": storable(why)[:2_000], "traceback": None}
        ended = replace(
            row, state="quarantined", finished_at=self._tables.now(), ack_by=None, exec_until=None,
            error=stored(json.dumps(error)),
        )  # fmt: skip
        self._tables.apply(Changes(tasks={row.id: ended}))
        self._wakeups.notify("final")
        return row.id

    async def claimed(self, lease_key: bytes, sessions: Sequence[tuple[int, int]]) -> list[Claimed]:
        await checkpoint()
        return self._claims.claimed(lease_key, sessions)

    # --- attempts ---------------------------------------------------------------------------------

    async def complete(self, outcomes: Outcomes) -> list[Verdict]:
        await checkpoint()
        verdicts = ends.complete(self._tables, outcomes)
        self._wakeups.notify("final")
        if any(outcomes.kinds):
            self._wakeups.notify("due")
        return verdicts

    async def mark(self, accepted: Sequence[Held], started: Sequence[Held]) -> None:
        await checkpoint()
        marks.mark_accepted(self._tables, accepted)
        marks.mark_started(self._tables, started, self._default_timeout)

    async def save_progress(self, values: Sequence[tuple[int, int, str]]) -> None:
        await checkpoint()
        marks.save_progress(self._tables, values)

    # --- sessions ---------------------------------------------------------------------------------

    async def open_session(
        self, worker: WorkerInfo, *, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session:
        await checkpoint()
        return leases.open_session(self._tables, worker, secret_hash, coordinator_id, lease)

    async def resume_session(
        self, session_id: int, *, worker: WorkerInfo, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session | None:
        await checkpoint()
        return leases.resume_session(self._tables, session_id, worker, secret_hash, coordinator_id, lease)

    async def held_by(self, session_id: int) -> list[Held]:
        await checkpoint()
        return [leases.held_of(task) for task in self._tables.held(session_id)]

    async def renew(
        self,
        coordinator_id: str,
        sessions: Sequence[tuple[int, int, float]],
        *,
        lease: float,
        health: Mapping[int, Mapping[str, Any]],
    ) -> Renewed:
        await checkpoint()
        return leases.renew(self._tables, sessions, lease, health)

    async def begin_drain(self, session_id: int, epoch: int) -> None:
        await checkpoint()
        leases.begin_drain(self._tables, session_id, epoch)

    async def close_session(self, session_id: int, epoch: int) -> None:
        await checkpoint()
        leases.close_session(self._tables, session_id, epoch)

    async def convict(
        self, sessions: Sequence[tuple[int, int]], coordinator_id: str, *, until: float | None = None
    ) -> list[int]:
        await checkpoint()
        return leases.convict(self._tables, sessions, coordinator_id, until)

    async def sweep(
        self,
        limit: int,
        coordinator_id: str,
        *,
        lease: float | None,
        until: float | None = None,
        sent: Collection[bytes] = (),
        linked: Collection[int] = (),
    ) -> Swept:
        await checkpoint()
        swept, final = sweeps.sweep(self._tables, limit, coordinator_id, lease, until, sent, linked)
        if final:
            self._wakeups.notify("final")
        if swept.count > final:
            self._wakeups.notify("due")
        return swept


def _view(row: CoordinatorRow) -> CoordinatorView:
    return CoordinatorView(
        id=row.id, address=row.address, version=row.version, started_at=row.started_at, seen_until=row.seen_until,
        alive=True, workers=0,
    )  # fmt: skip
