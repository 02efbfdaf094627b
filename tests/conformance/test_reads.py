"""What is read of a backlog, whatever the planner believes: its first."""

from __future__ import annotations

import os
from typing import Any

import pytest
import trio_asyncio

from actors.model.ports import ClaimOffer
from actors.model.queue import QueuePatch
from actors.model.worker import Session
from storage.limited import LimitedClaim, Taken
from storage.pool import STEADY_PLANS
from storage.queries import sql
from storage.store import Store
from tests.support.bench import NOW, Bench, later

# Long, so that the index that must be read is taller than its neighbours.
BIG = "big" + "-" * 200
BACKLOG = 3_000
STATISTICS = ["none", "nothing queued", "nothing keyed", "each has a lane", "true"]
READ = """SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid))::int FROM pg_index
          WHERE indrelid = 'callboard_tasks'::regclass"""


@pytest.fixture
async def bench(postgres: Bench, store: Store, own_statistics: None) -> Bench:
    """As a coordinator's connection, over a queue that lets one of each key start."""
    for setting, value in {**STEADY_PLANS, "jit": "off"}.items():
        await postgres.database.execute(f"SET {setting} = {value}")
    one_of_each = QueuePatch(fields=frozenset({"concurrency_per_key"}), concurrency_per_key=1)
    await store.queues.set_queue("default", one_of_each)
    return postgres


async def believe(bench: Bench, statistics: str) -> None:
    """Statistics from before the backlog."""
    match statistics:
        case "none":
            await bench.database.execute("TRUNCATE callboard_tasks CASCADE")
            await bench.database.execute("DELETE FROM pg_statistic WHERE starelid = 'callboard_tasks'::regclass")
            return
        case "nothing queued":
            await bench.put(2_000, state="succeeded", finished_at=NOW)
        case "each has a lane":
            for number in range(100):
                await bench.put(1, name=f"lane-{number}", state="succeeded", finished_at=NOW)
        case "nothing keyed":
            await bench.put(2_000, run_at=later(3600))
        case "true":
            pass
    await bench.database.execute("ANALYZE callboard_tasks")


async def entries(bench: Bench, session: Session) -> tuple[int, int]:
    """Tasks that a claim of ten gets, and index entries of their table that it reads for them. It is taken back."""
    connection: Any = bench.database._connection
    offer = ClaimOffer(os.urandom(16), [await bench.lane()], [(session.id, session.epoch)], [0] * 10, 5.0, 2.0)

    async def claim() -> tuple[Taken, int]:
        transaction = connection.transaction()
        await transaction.start()
        try:
            return await LimitedClaim(connection, offer, 300.0).run(), await connection.fetchval(READ)
        finally:
            await transaction.rollback()

    taken, count = await trio_asyncio.aio_as_trio(claim)()
    return sum(len(row["ids"]) for row in taken.rows), count


@pytest.mark.parametrize("backlog", [{}, {"run_at": later(3600)}, {"priority": 1}], ids=["due", "later", "urgent"])
@pytest.mark.parametrize("statistics", STATISTICS)
async def test_a_key_costs_no_walk_through_a_backlog(bench: Bench, statistics: str, backlog: dict[str, Any]) -> None:
    session = await bench.session()
    await believe(bench, statistics)
    for key in ("a", BIG, "z"):
        await bench.put(1, concurrency_key=key)
    await bench.change("lanes", {"name": "demo"}, keyed=True)
    await entries(bench, session)  # plans are kept from before the backlog
    await bench.put(BACKLOG, concurrency_key=BIG, **backlog)
    await bench.put(1, concurrency_key="z", priority=4)
    if statistics == "true":
        await bench.database.execute("ANALYZE callboard_tasks")
    for _ in range(2):
        got, read = await entries(bench, session)
        assert got == 3
        assert read < BACKLOG / 10
        await bench.database.execute("DISCARD PLANS")


@pytest.mark.parametrize("statistics", STATISTICS)
async def test_what_nobody_serves_is_found_without_a_walk(bench: Bench, statistics: str) -> None:
    await believe(bench, statistics)
    await bench.put(BACKLOG, priority=4)
    if statistics == "true":
        await bench.database.execute("ANALYZE callboard_tasks")
    await bench.database.execute("BEGIN")
    [row] = await bench.database.fetch(sql("unserved"), "default", 10)
    assert row["name"] == "demo"
    assert await bench.database.value(READ) <= 10
    await bench.database.execute("ROLLBACK")
