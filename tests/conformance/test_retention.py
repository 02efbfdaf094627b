"""How long tasks are kept, by state and queue."""

from __future__ import annotations

import re

import trio

from actors.model.queue import QueuePatch, Retention
from storage.pool import STEADY_PLANS
from storage.queries import sql
from storage.store import Store, open_store
from tests.support.bench import NOW, Bench, ago

HOUR, DAY = 3_600.0, 86_400.0


async def ended(
    bench: Bench, seconds: float, state: str = "succeeded", name: str = "demo", count: int = 1
) -> list[int]:
    return await bench.put(count, name=name, state=state, finished_at=ago(seconds))


async def left(bench: Bench) -> set[int]:
    return {row["id"] for row in await bench.rows("tasks")}


async def keep(store: Store, queue: str, **seconds: float | None) -> None:
    await store.queues.set_queue(queue, QueuePatch(fields=frozenset(seconds), **seconds))  # type: ignore[arg-type]


async def test_a_queue_keeps_for_a_time_of_its_own(postgres: Bench, store: Store) -> None:
    await postgres.handler("ping", queue="pings")
    await postgres.handler("bill", queue="bills")
    await keep(store, "pings", keep_succeeded=HOUR, keep_unsuccessful=DAY)
    await keep(store, "bills", keep_succeeded=365 * DAY)
    stay = [
        *await ended(postgres, 6 * DAY), *await ended(postgres, 29 * DAY, "failed"),
        *await ended(postgres, 0.9 * HOUR, name="ping"), *await ended(postgres, 0.9 * DAY, "cancelled", "ping"),
        *await ended(postgres, 300 * DAY, name="bill"), *await ended(postgres, 29 * DAY, "expired", "bill"),
    ]  # fmt: skip
    gone = [
        *await ended(postgres, 8 * DAY), *await ended(postgres, 31 * DAY, "quarantined"),
        *await ended(postgres, 1.1 * HOUR, name="ping"), *await ended(postgres, 1.1 * DAY, "failed", "ping"),
        *await ended(postgres, 400 * DAY, name="bill"), *await ended(postgres, 31 * DAY, "failed", "bill"),
    ]  # fmt: skip
    assert await postgres.tasks.prune(100) == len(gone)
    assert await left(postgres) == set(stay)
    await keep(store, "bills", keep_succeeded=None)
    assert await postgres.tasks.prune(100) == 1


async def test_nothing_goes_within_a_minute_of_its_end(postgres: Bench, store: Store) -> None:
    await keep(store, "default", keep_succeeded=0.0, keep_unsuccessful=0.0)
    await ended(postgres, 70)
    await ended(postgres, 70, "failed")
    young = await ended(postgres, 50)
    assert await postgres.tasks.prune(100) == 2
    assert await left(postgres) == set(young)


async def test_settings_hold_where_the_queue_says_nothing(postgres: Bench, store: Store) -> None:
    await ended(postgres, 2 * HOUR)
    stays = await ended(postgres, 2 * HOUR, "failed")
    async with open_store(postgres.address, retention=Retention(HOUR, DAY, 60.0)) as other:
        assert await other.tasks.prune(100) == 1
    assert await left(postgres) == set(stays)


async def test_two_pruners_do_the_work_of_one(postgres: Bench, store: Store) -> None:
    await ended(postgres, 8 * DAY, count=500)
    found: list[int] = []

    async def prune() -> None:
        found.append(await postgres.tasks.prune(100))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(prune)
    assert sum(found) == 500 - len(await left(postgres))
    while await postgres.tasks.prune(100):
        pass
    assert await left(postgres) == set()


async def test_what_is_kept_is_not_read(postgres: Bench, store: Store, own_statistics: None) -> None:
    """A queue that keeps for long must not make each round walk past its tasks."""
    await postgres.handler("bill", queue="bills")
    await keep(store, "bills", keep_succeeded=365 * DAY)
    await ended(postgres, 8 * DAY, name="bill", count=20_000)
    await ended(postgres, 8 * DAY, count=5)
    await postgres.put(5_000, state="succeeded", finished_at=NOW)
    await postgres.database.execute("ANALYZE callboard_tasks")
    for setting, value in STEADY_PLANS.items():
        await postgres.database.execute(f"SET {setting} = {value}")
    statement = "PREPARE pruning (int, float8, float8, float8) AS " + sql("prune")
    await postgres.database.execute(statement)
    await postgres.database.execute("BEGIN")
    rows = await postgres.database.fetch("EXPLAIN (ANALYZE, BUFFERS) EXECUTE pruning (100, 604800, 2592000, 86400)")
    await postgres.database.execute("ROLLBACK; DEALLOCATE pruning")
    line = next(row[0] for row in rows if "Buffers" in row[0])
    assert sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", line)) < 400
