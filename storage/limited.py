"""The claim of tasks under limits. asyncio-flavoured, in one transaction that holds the locks of their queues.

Locks come first, in a statement of their own: what is read after them was committed before them, and nobody else can
start anything of these queues until this transaction is over.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from actors.model.limits import UNKEYED, Budget, Candidate, Placed, Room, in_order, in_turn, place
from actors.model.ports import ClaimOffer
from storage.connect import Connection
from storage.queries import sql

VISITS = 1_000  # keys that a claim looks at
SOON = 0.1  # seconds until it goes on with the others
# The lock is what claimed.sql waits for when the outcome of this transaction is unknown. What is read in order is read
# along an index in that order: whoever believes in few rows would sort a backlog.
BEGIN = "SELECT pg_advisory_xact_lock(hashtextextended(($1::uuid)::text, 0)), set_config('enable_sort', 'off', true)"
PATIENCE = 0.25  # seconds between looks while something is left to a session that has no room


@dataclass(slots=True)
class Queue:
    """One queue with limits, and what may start of it yet."""

    row: asyncpg.Record
    budget: Budget
    refill: float | None  # seconds until its rate lets another one start, when it does not now
    lanes: list[int] = field(default_factory=list)
    keyed: list[int] = field(default_factory=list)  # of these, those whose tasks have keys

    @property
    def fair(self) -> bool:
        return self.row["concurrency_per_key"] is not None or self.row["key_rate_limit"] is not None

    def most(self, turns: int) -> int:
        """Tasks that may start at most."""
        limits = [one for one in (self.budget.room, self.budget.starts) if one is not None]
        return max(0, min([turns, *limits]))


@dataclass(slots=True)
class Taken:
    """What a claim under limits got."""

    rows: list[asyncpg.Record] = field(default_factory=list)  # as those of claim.sql
    more: bool = False  # another claim would find more if there were room for it
    again: float | None = None  # seconds after which time alone lets more start
    reserved: int | None = None  # the session that gets nothing else until a heavy task fits


class LimitedClaim:
    """One claim."""

    def __init__(self, connection: Connection, offer: ClaimOffer, ageing: float) -> None:
        self._connection, self._offer, self._ageing = connection, offer, ageing
        self._turns = len(offer.slots)
        self._waits: list[float] = []

    async def run(self) -> Taken:
        key = uuid.UUID(bytes=self._offer.lease_key)
        await self._connection.execute(BEGIN, key)
        queues, free = await self._lock()
        sequences = [await self._of(queue) for queue in queues.values() if queue.lanes]
        if free:
            sequences.append(self._candidates(await self._read(free, [self._turns] * len(free)), ""))
        if not any(sequences):
            return Taken([], False, min(self._waits, default=None))
        sessions = [session for session, _ in self._offer.sessions]
        rivals = await self._rivals([*free, *(lane for queue in queues.values() for lane in queue.lanes)])
        rooms = {session: Room(*room) for session, room in zip(sessions, self._offer.rooms, strict=False)}
        placed = place(sequences, rivals, [sessions[slot] for slot in self._offer.slots], rooms)
        rows = await self._take(placed, queues, key)
        if placed.waits:
            self._waits.append(PATIENCE)
        return Taken(rows, placed.full and bool(rows), min(self._waits, default=None), placed.reserved)

    async def _lock(self) -> tuple[dict[str, Queue], list[int]]:
        """Queues with limits, and lanes that are to be placed but have none."""
        rows = await self._connection.fetch(sql("limited_queues"), list(self._offer.lanes))
        fresh = [row["name"] for row in rows if row["fresh"]]
        if fresh:
            await self._connection.execute(sql("count_stragglers"), fresh)
        names, periods = [row["name"] for row in rows], [row["rate_period"] for row in rows]
        counts = await self._connection.fetch(sql("count_out"), names, periods) if rows else []
        queues = {row["name"]: _queue(row, count) for row, count in zip(rows, counts, strict=True)}
        free: list[int] = []
        for lane in await self._connection.fetch(sql("special_lanes"), list(self._offer.lanes)):
            if (queue := queues.get(lane["queue"])) is not None:
                queue.lanes.append(lane["id"])
                if lane["keyed"]:
                    queue.keyed.append(lane["id"])
            elif not lane["limited"]:  # one that got its limits a moment ago is not locked
                free.append(lane["id"])
        return queues, free

    async def _of(self, queue: Queue) -> list[Candidate]:
        """What may start of one queue, in its order."""
        name, most = queue.row["name"], queue.most(self._turns)
        if not most:
            if queue.refill is not None:
                self._waits.append(queue.refill)
            return []
        plain = [lane for lane in queue.lanes if not queue.fair or lane not in queue.keyed]
        found = self._candidates(await self._read(plain, [most] * len(plain)), name) if plain else []
        if not queue.fair:
            return in_order(found, queue.budget)
        keys = await self._keys(queue, most)
        heads = await self._heads(queue, list(keys), most)
        if plain:
            heads[UNKEYED] = found
        return in_turn(heads, keys, queue.budget)

    async def _keys(self, queue: Queue, most: int) -> dict[str, Budget]:
        """Keys that may start something now, in the ring that begins after the one whose turn was last."""
        row, found = queue.row, dict[str, Budget]()
        after, wrapped, left = row["last_key"], False, VISITS if queue.keyed else 0
        while left and len(found) < most:
            wanted = min(left, max(100, 2 * most))
            upto = row["last_key"] if wrapped else None
            visited = await self._connection.fetch(
                sql("waiting_keys"), queue.keyed, after, upto, wanted, row["name"], row["key_rate_period"]
            )
            for one in visited:
                self._judge(row, one, found)
            left -= len(visited)
            if len(visited) == wanted:
                after = visited[-1]["key"]
            elif wrapped or not row["last_key"]:
                break  # once around
            else:
                after, wrapped = "", True
        else:
            if queue.keyed and len(found) < most:  # the next claim goes on behind those who may start nothing
                self._waits.append(SOON)
                await self._turn_was(row["name"], after)
        return dict(list(found.items())[:most])

    def _judge(self, row: asyncpg.Record, one: asyncpg.Record, found: dict[str, Budget]) -> None:
        if not one["due"]:
            return
        budget = _budget(row["concurrency_per_key"], one["out"], row["key_rate_limit"], one["started"])
        if budget.fits(1):
            found[one["key"]] = budget
        elif budget.starts is not None and budget.starts <= 0 and one["refill"] is not None:
            self._waits.append(max(0.0, one["refill"]))

    async def _heads(self, queue: Queue, keys: Sequence[str], most: int) -> dict[str, Sequence[Candidate]]:
        heads: dict[str, list[Candidate]] = {key: [] for key in keys}
        if keys:
            rows = await self._connection.fetch(
                sql("keyed_candidates"), queue.keyed, keys, math.ceil(2 * most / len(keys)), self._ageing
            )
            for row, one in zip(rows, self._candidates(rows, queue.row["name"]), strict=True):
                heads[row["key"]].append(one)
        return dict(heads)

    async def _read(self, lanes: Sequence[int], most: Sequence[int], *, ranks: bool = False) -> list[asyncpg.Record]:
        if not lanes:
            return []
        return list(await self._connection.fetch(sql("limited_candidates"), lanes, most, self._ageing, ranks))

    def _candidates(self, rows: Sequence[asyncpg.Record], queue: str) -> list[Candidate]:
        return [
            Candidate(
                row["id"], row["rank"], queue, row["weight"], row["key"] or UNKEYED,
                row["preferred"], row["patient"], row["shunned"],
            )
            for row in rows
        ]  # fmt: skip

    async def _rivals(self, special: Sequence[int]) -> list[float]:
        """Ranks of the tasks without limits that compete for the same room."""
        lanes = [lane for lane in self._offer.lanes if lane not in special]
        rows = await self._read(lanes, [self._turns] * len(lanes), ranks=True)
        return [row["rank"] for row in rows[: self._turns]]

    async def _take(self, placed: Placed, queues: Mapping[str, Queue], key: uuid.UUID) -> list[asyncpg.Record]:
        if not placed.picks:
            return []
        offer, picks = self._offer, placed.picks
        rows = await self._connection.fetch(
            sql("take"),
            [pick.candidate.id for pick in picks],
            [offer.slots[pick.turn] for pick in picks],
            [pick.candidate.queue or None for pick in picks],
            [session for session, _ in offer.sessions],
            [epoch for _, epoch in offer.sessions],
            key,
            offer.ack_window,
            offer.claim_margin,
        )
        got = {task for row in rows for task in row["ids"]}
        taken = [pick.candidate for pick in picks if pick.candidate.id in got]
        await self._spend(taken, queues)
        last = {one.queue: one.key for one in taken if one.queue and queues[one.queue].fair}
        for name, last_key in last.items():
            await self._turn_was(name, last_key)
        return list(rows)

    async def _spend(self, taken: Sequence[Candidate], queues: Mapping[str, Queue]) -> None:
        """Enters starts of queues with rates."""
        counts: Counter[tuple[str, str, float]] = Counter()
        for one in taken:
            if not one.queue:
                continue
            row = queues[one.queue].row
            if row["rate_period"] is not None:
                counts[one.queue, "", row["rate_period"]] += 1
            if row["key_rate_period"] is not None and one.key:
                counts[one.queue, one.key, row["key_rate_period"]] += 1
        if counts:
            names, keys, periods = zip(*counts, strict=True)
            await self._connection.execute(sql("spend"), names, keys, list(counts.values()), periods)

    async def _turn_was(self, queue: str, key: str) -> None:
        await self._connection.execute("UPDATE callboard_queues SET last_key = $2 WHERE name = $1", queue, key)


def _queue(row: asyncpg.Record, count: asyncpg.Record) -> Queue:
    budget = _budget(row["concurrency"], count["out"], row["rate_limit"], count["started"])
    spent = budget.starts is not None and budget.starts <= 0
    return Queue(row, budget, max(0.0, count["refill"] or 0.0) if spent else None)


def _budget(concurrency: int | None, out: int, rate: int | None, started: int) -> Budget:
    return Budget(
        None if concurrency is None else concurrency - out, None if rate is None else rate - started, idle=not out
    )
