"""Tasks and sessions, as coordinators see them: the DispatchStore over PostgreSQL."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from actors.model.columns import Assignment, Outcome, Outcomes, Verdict
from actors.model.errors import BadValue
from actors.model.ports import Claimed, Lane, Renewed, Wishes
from actors.model.task import DEFAULT_MAX_TRIES
from actors.model.worker import CoordinatorView, HandlerInfo, Held, Session, WorkerInfo
from storage.connect import Connection
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql
from storage.sanitize import storable

Columns = tuple[list[int], list[int], list[uuid.UUID], list[int], list[str]]  # ids, attempts, keys, kinds, bodies


class PostgresDispatch:
    """`control` is reserved for leases; claims and outcomes go through `work`."""

    def __init__(
        self, control: Pool, work: Pool, lanes: Lanes, notifier: Notifier, default_timeout: float | None
    ) -> None:
        self._control, self._work, self._lanes, self._notifier = control, work, lanes, notifier
        self._default_timeout = default_timeout

    # --- coordinators -----------------------------------------------------------------------------

    async def sign_in(self, coordinator_id: str, address: str, version: str, *, ttl: float) -> list[CoordinatorView]:
        rows = await self._control.fetch(sql("sign_in"), coordinator_id, address, version, ttl)
        return [CoordinatorView(**dict(row)) for row in rows]

    async def sign_out(self, coordinator_id: str) -> None:
        await self._control.execute("DELETE FROM callboard_coordinators WHERE id = $1", coordinator_id)

    # --- lanes and handlers -----------------------------------------------------------------------

    async def declare(self, handlers: Sequence[HandlerInfo]) -> None:
        await self._lanes.declare(handlers)

    async def lanes(self) -> list[Lane]:
        return await self._lanes.read()

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
        rows = await self._work.fetch(
            sql("claim"),
            lanes,
            [session for session, _ in sessions],
            [epoch for _, epoch in sessions],
            slots,
            uuid.UUID(bytes=lease_key),
            ack_window,
            claim_margin,
        )
        return await self._shares(rows, lease_key), rows[-1]["seen"]

    async def claimed(self, lease_key: bytes, sessions: Sequence[tuple[int, int]]) -> list[Claimed]:
        key = uuid.UUID(bytes=lease_key)

        async def read(connection: Connection) -> list[asyncpg.Record]:
            """The lock waits until the claim's transaction is over; the read after it sees what became of it."""
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(($1::uuid)::text, 0))", key)
                return await connection.fetch(sql("claimed"), key, [session for session, _ in sessions])

        return await self._shares(await self._work.run(read), lease_key)

    async def _shares(self, rows: Sequence[asyncpg.Record], lease_key: bytes) -> list[Claimed]:
        found = [row for row in rows if row["slot"] is not None]
        if any(not self._lanes.knows(row["lanes"]) for row in found):
            await self._lanes.read()
        return [Claimed(row["slot"], self._assignment(row, lease_key)) for row in found]

    def _assignment(self, row: asyncpg.Record, lease_key: bytes) -> Assignment:
        names, name_index = self._lanes.columns(row["lanes"])
        timeouts = row["timeouts"]
        if self._default_timeout is not None:
            default = timeout_ms(self._default_timeout)
            timeouts = [given or default for given in timeouts]
        return Assignment(
            lease_key,
            row["ids"],
            row["attempts"],
            names,
            name_index,
            timeouts,
            row["flags"],
            row["sizes"],
            row["payloads"],
        )

    # --- outcomes ---------------------------------------------------------------------------------

    async def complete(self, outcomes: Outcomes) -> list[Verdict]:
        keys = [uuid.UUID(bytes=key) for key in outcomes.keys]
        columns: Columns = (
            outcomes.ids,
            outcomes.attempts,
            [keys[index] for index in outcomes.key_index],
            outcomes.kinds,
            outcomes.texts(),
        )
        try:
            return await self._complete(columns)
        except BadValue:
            return [(await self._complete_one(pick(columns, [place])))[0] for place in range(len(outcomes))]

    async def _complete_one(self, columns: Columns) -> list[Verdict]:
        """A row that the database can't hold fails alone: a bad result fails its task, a bad text is made safe."""
        try:
            return await self._complete(columns)
        except BadValue as error:
            ids, attempts, keys, [kind], [body] = columns
            if kind == Outcome.SUCCEEDED:
                kind = int(Outcome.FAILED_FINAL)
                body = json.dumps(
                    {"type": "InvalidResult", "message": f"the result can't be stored: {error.detail}"[:500]}
                )
            return await self._complete((ids, attempts, keys, [kind], [storable(body)]))

    async def _complete(self, columns: Columns) -> list[Verdict]:
        ids, _, _, kinds, _ = columns
        verdicts = [Verdict.FENCED] * len(ids)
        good = [place for place, kind in enumerate(kinds) if kind == Outcome.SUCCEEDED] if any(kinds) else None
        if good is None or good:
            part = columns if good is None else pick(columns, good)
            rows = await self._work.fetch(sql("succeed"), part[0], part[1], part[2], part[4])
            accept(verdicts, rows[0][0], good)
        if good is not None and len(good) < len(ids):
            rest = [place for place, kind in enumerate(kinds) if kind != Outcome.SUCCEEDED]
            rows = await self._work.fetch(sql("settle"), *pick(columns, rest), DEFAULT_MAX_TRIES)
            accept(verdicts, rows[0][0], rest)
        doubtful = [place for place, verdict in enumerate(verdicts) if verdict is Verdict.FENCED]
        if doubtful:
            rows = await self._work.fetch(sql("judge"), *pick(columns, doubtful))
            for place in rows[0][0] or ():
                verdicts[doubtful[place - 1]] = Verdict.ACCEPTED_BEFORE
        self._notifier.final()
        if any(kinds):
            self._notifier.due()
        return verdicts

    async def mark(self, accepted: Sequence[Held], started: Sequence[Held]) -> None:
        if accepted:
            await self._work.execute(sql("mark_accepted"), *held_columns(accepted))
        if started:
            await self._work.execute(sql("mark_started"), *held_columns(started))

    # --- sessions ---------------------------------------------------------------------------------

    async def open_session(
        self, worker: WorkerInfo, *, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session:
        row = await self._control.fetchrow(
            sql("open_session"), worker.id, worker.name, secret_hash, coordinator_id, lease, *declared(worker)
        )
        assert row is not None
        return Session(id=row["session_id"], epoch=row["epoch"], worker=worker.id)

    async def resume_session(
        self, session_id: int, *, worker: WorkerInfo, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session | None:
        row = await self._control.fetchrow(
            sql("resume_session"), session_id, secret_hash, coordinator_id, lease, *declared(worker)
        )
        return None if row is None else Session(id=row["session_id"], epoch=row["epoch"], worker=worker.id)

    async def held_by(self, session_id: int) -> list[Held]:
        rows = await self._control.fetch(
            "SELECT id, attempt, lease_key FROM callboard_tasks"
            " WHERE session_id = $1 AND state IN ('assigned', 'running')",
            session_id,
        )
        return [Held(row["id"], row["attempt"], row["lease_key"].bytes) for row in rows]

    async def renew(
        self,
        coordinator_id: str,
        sessions: Sequence[tuple[int, int, float]],
        *,
        lease: float,
        health: Mapping[int, Mapping[str, Any]],
    ) -> Renewed:
        rows = await self._control.fetch(
            sql("renew"),
            [session for session, _, _ in sessions],
            [epoch for _, epoch, _ in sessions],
            [age for _, _, age in sessions],
            [storable(json.dumps(health.get(session, {}))) for session, _, _ in sessions],
            lease,
        )
        row = rows[0]
        cancels: dict[int, list[Held]] = {}
        for session, task, attempt, key in zip(
            row["wish_sessions"] or (),
            row["wish_ids"] or (),
            row["wish_attempts"] or (),
            row["wish_keys"] or (),
            strict=True,
        ):
            cancels.setdefault(session, []).append(Held(task, attempt, key.bytes))
        return Renewed(
            sessions=frozenset(row["sessions"] or ()),
            wishes=Wishes(cancels, frozenset(row["paused"] or ()), frozenset(row["drain"] or ())),
            server_started=row["server_started"],
        )

    async def begin_drain(self, session_id: int, epoch: int) -> None:
        await self._control.execute(
            "UPDATE callboard_workers SET state = 'draining' WHERE session_id = $1 AND epoch = $2 AND state = 'live'",
            session_id,
            epoch,
        )

    async def close_session(self, session_id: int, epoch: int) -> None:
        await self._control.execute(
            "UPDATE callboard_workers SET state = 'closed', ended_at = clock_timestamp()"
            " WHERE session_id = $1 AND epoch = $2 AND state IN ('live', 'draining')",
            session_id,
            epoch,
        )

    async def convict(self, sessions: Sequence[tuple[int, int]], coordinator_id: str) -> list[int]:
        rows = await self._control.fetch(
            sql("convict"), [session for session, _ in sessions], [epoch for _, epoch in sessions], coordinator_id
        )
        return [row["session_id"] for row in rows]

    async def convict_expired(self, lease: float) -> list[int]:
        return [row["session_id"] for row in await self._control.fetch(sql("convict_expired"), lease)]

    async def sweep(self, limit: int, *, judge: bool = True) -> int:
        """`judge=False`: only what ended sessions held, nothing that a clock decides."""
        rows = await self._control.fetch(sql("sweep"), limit, judge, DEFAULT_MAX_TRIES, self._notifier.channel("due"))
        return int(rows[0]["swept"])


def declared(worker: WorkerInfo) -> tuple[Any, ...]:
    """What a session row says of its worker."""
    return (
        worker.slots,
        list(worker.queues),
        [handler.name for handler in worker.handlers],
        storable(json.dumps(dict(worker.labels))),
        worker.version,
        worker.http_address,
    )


def held_columns(held: Iterable[Held]) -> tuple[list[int], list[int], list[uuid.UUID]]:
    """In the order of ids, so that two statements never lock in opposite order."""
    ordered = sorted(held, key=lambda one: one.task_id)
    return (
        [one.task_id for one in ordered],
        [one.attempt for one in ordered],
        [uuid.UUID(bytes=one.lease_key) for one in ordered],
    )


def pick(columns: Columns, places: Sequence[int]) -> Columns:
    """Some places of all columns."""
    ids, attempts, keys, kinds, bodies = columns
    return (
        [ids[place] for place in places],
        [attempts[place] for place in places],
        [keys[place] for place in places],
        [kinds[place] for place in places],
        [bodies[place] for place in places],
    )


def accept(verdicts: list[Verdict], numbers: Sequence[int] | None, places: Sequence[int] | None) -> None:
    """Enters the accepted ones; `numbers` count from 1 within `places`, None means every place."""
    if numbers is None:
        return
    if places is None:
        if len(numbers) == len(verdicts):
            verdicts[:] = [Verdict.ACCEPTED] * len(verdicts)
            return
        places = range(len(verdicts))
    for number in numbers:
        verdicts[places[number - 1]] = Verdict.ACCEPTED


def timeout_ms(seconds: float) -> int:
    """As claim.sql rounds and bounds it: what travels is 31 bits wide, and 0 means none."""
    return math.ceil(1000 * min(seconds, 2_000_000))
