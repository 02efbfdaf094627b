"""Tasks and sessions, as coordinators see them: the DispatchStore over PostgreSQL."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg

from actors.model.columns import Assignment
from actors.model.lane import Lane
from actors.model.ports import Claimed, ClaimOffer, LimitedShares, Posted
from actors.model.task import AGEING, NewTask
from actors.model.worker import CoordinatorView, HandlerInfo
from storage.connect import Connection
from storage.lanes import Lanes
from storage.limited import LimitedClaim, Taken
from storage.notify import Notifier
from storage.outcomes import PostgresOutcomes
from storage.pool import Pool, never
from storage.queries import sql
from storage.sanitize import storable
from storage.sessions import PostgresSessions
from storage.submit import Submission

Columns = tuple[list[int], list[int], list[uuid.UUID], list[int], list[str]]  # ids, attempts, keys, kinds, bodies


class PostgresDispatch(PostgresOutcomes, PostgresSessions):
    """`control` is reserved for leases; claims and outcomes go through `work`."""

    def __init__(
        self, control: Pool, work: Pool, lanes: Lanes, notifier: Notifier, default_timeout: float | None,
        ageing: float = AGEING,
    ) -> None:  # fmt: skip
        PostgresOutcomes.__init__(self, work, notifier, default_timeout)
        PostgresSessions.__init__(self, control, notifier)
        self._lanes, self._ageing = lanes, ageing

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
        offer = ClaimOffer(lease_key, lanes, sessions, slots, ack_window, claim_margin)
        # What a first one took would stay with nobody after a repeat: ask `claimed`.
        rows = await self._work.fetch(sql("claim"), *claim_parameters(offer), self._ageing, repeatable=never)
        return await self._shares(rows, lease_key), rows[-1]["seen"]

    async def post(self, tasks: Sequence[NewTask], offer: ClaimOffer) -> Posted:
        submission = Submission(self._work, self._lanes, self._notifier)
        parameters = await submission.parameters(tasks)

        async def work(connection: Connection) -> tuple[asyncpg.Record | None, list[asyncpg.Record]]:
            async with connection.transaction():
                row = await connection.fetchrow(sql("submit"), *parameters)
                return row, await connection.fetch(sql("claim"), *claim_parameters(offer), self._ageing)

        row, rows = await self._work.run(work, repeatable=never)
        assert row is not None
        answers = await submission.answers(tasks, row)
        return Posted(answers, await self._shares(rows, offer.lease_key), rows[-1]["seen"])

    async def claim_limited(self, offer: ClaimOffer) -> LimitedShares:
        async def work(connection: Connection) -> Taken:
            async with connection.transaction():
                return await LimitedClaim(connection, offer, self._ageing).run()

        taken = await self._work.run(work, repeatable=never)
        return LimitedShares(await self._shares(taken.rows, offer.lease_key), taken.more, taken.again, taken.reserved)

    async def claimed(self, lease_key: bytes, sessions: Sequence[tuple[int, int]]) -> list[Claimed]:
        key = uuid.UUID(bytes=lease_key)

        async def read(connection: Connection) -> list[asyncpg.Record]:
            """The lock waits until the claim's transaction is over; the read after it sees what became of it."""
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(($1::uuid)::text, 0))", key)
                return await connection.fetch(sql("claimed"), key, [session for session, _ in sessions], self._ageing)

        return await self._shares(await self._work.run(read), lease_key)

    async def set_aside(self, lane: int, lease_key: bytes, sessions: Sequence[int], why: str) -> int | None:
        row = await self._work.fetchrow(
            sql("set_aside"), lane, uuid.UUID(bytes=lease_key), list(sessions), storable(why)[:2_000], self._ageing
        )
        self._notifier.final()
        return None if row is None else int(row["id"])

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
            weights=[] if row["weights"] is None or max(row["weights"]) == 1 else row["weights"],
        )


def claim_parameters(offer: ClaimOffer) -> list[Any]:
    """Those of claim.sql, but the last."""
    return [
        offer.lanes,
        [session for session, _ in offer.sessions],
        [epoch for _, epoch in offer.sessions],
        offer.slots,
        uuid.UUID(bytes=offer.lease_key),
        offer.ack_window,
        offer.claim_margin,
    ]


def timeout_ms(seconds: float) -> int:
    """As claim.sql rounds and bounds it: what travels is 31 bits wide, and 0 means none."""
    return math.ceil(1000 * min(seconds, 2_000_000))
