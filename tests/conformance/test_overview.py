"""Counts, workers, retention, expiry."""

from __future__ import annotations

import pytest
import trio

from actors.model.errors import NotFound
from actors.model.task import NewTask
from tests.conformance.test_tasks import one_in_each_state
from tests.support.bench import NOW, Bench, ago, later

DAY = 86_400


async def test_stats_count_every_shown_state(bench: Bench) -> None:
    await one_in_each_state(bench)
    stats = await bench.tasks.stats()
    counted = stats["tasks"]
    for state in ("queued", "assigned", "running", "cancelling", "succeeded", "failed", "cancelled", "blocked"):
        assert counted[state] == 1, state
    assert counted["scheduled"] == 2  # one of them retries
    assert counted["expired"] == counted["quarantined"] == 0
    [queue] = stats["queues"]
    assert (queue["name"], queue["depth"], queue["due"]) == ("default", 3, 1)
    assert queue["oldest_age"] >= 0.9
    assert stats["workers"] == {"live": 1}


async def test_stats_of_an_empty_table(bench: Bench) -> None:
    stats = await bench.tasks.stats()
    assert set(stats["tasks"].values()) == {0}
    assert stats["queues"] == []


async def test_a_handler_is_live_while_a_live_worker_declares_it(bench: Bench) -> None:
    await bench.handler("demo")
    await bench.handler("orphan")
    session = await bench.session()
    assert await bench.tasks.known_handlers() == {"demo": True, "orphan": False}
    await bench.dispatch.close_session(session.id, session.epoch)
    assert await bench.tasks.known_handlers() == {"demo": False, "orphan": False}


async def test_workers_show_their_newest_session_and_what_it_runs(bench: Bench) -> None:
    old = await bench.session("w1")
    await bench.dispatch.close_session(old.id, old.epoch)
    new = await bench.session("w1")
    await bench.held(new)
    await bench.session("w2")
    views = {view.id: view for view in await bench.tasks.workers()}
    assert set(views) == {"w1", "w2"}
    assert (views["w1"].session, views["w1"].running, views["w1"].state) == (new.id, 1, "live")
    await bench.change("workers", {"worker": "w2"}, state="dead", ended_at=ago(7200))
    assert [view.id for view in await bench.tasks.workers()] == ["w1"]
    assert [view.id for view in await bench.tasks.workers(include_ended=True)] == ["w1", "w2"]
    assert await bench.tasks.worker("none") is None


async def test_wishes_about_a_worker(bench: Bench) -> None:
    await bench.session("w1")
    assert (await bench.tasks.set_worker("w1", paused=True)).paused
    view = await bench.tasks.set_worker("w1", drain=True)
    assert (view.paused, view.drain_requested) == (True, True)
    assert not (await bench.tasks.set_worker("w1", paused=False)).paused
    with pytest.raises(NotFound):
        await bench.tasks.set_worker("none", paused=True)


async def finished(bench: Bench, state: str, days: float) -> int:
    return (await bench.put(1, state=state, finished_at=ago(days * DAY)))[0]


async def test_retention_keeps_what_is_young(bench: Bench) -> None:
    kept = {
        await finished(bench, "succeeded", 6),
        await finished(bench, "failed", 29),
        await finished(bench, "quarantined", 8),
        (await bench.put(1, created_at=ago(365 * DAY)))[0],
    }
    gone = [await finished(bench, "succeeded", 8)]
    gone += [await finished(bench, state, 31) for state in ("failed", "cancelled", "expired", "quarantined")]
    await bench.add_attempt(gone[1], 1, outcome="lost")
    assert await bench.tasks.prune(100) == len(gone)
    assert {row["id"] for row in await bench.rows("tasks")} == kept
    assert len(await bench.rows("attempts")) == 0
    assert await bench.tasks.prune(100) == 0


async def test_retention_works_in_batches(bench: Bench) -> None:
    await bench.put(25, state="succeeded", finished_at=ago(8 * DAY))
    assert [await bench.tasks.prune(10) for _ in range(4)] == [10, 10, 5, 0]


async def test_keys_go_after_a_day(bench: Bench) -> None:
    await bench.tasks.submit([NewTask(name="demo", idempotency_key=key, request_hash=b"1") for key in ("a", "b")])
    await bench.change("idempotency_keys", {"key": "a"}, created_at=ago(25 * 3600))
    await bench.tasks.prune(100)
    assert await bench.tasks.key_hash("a") is None
    assert await bench.tasks.key_hash("b") == b"1"


async def test_what_waited_too_long_expires(bench: Bench) -> None:
    [late] = await bench.put(1, expires_at=ago(1))
    [early] = await bench.put(1, expires_at=later(3600))
    session = await bench.session()
    held = await bench.held(session, expires_at=later(3600), priority=1)
    await bench.change("tasks", {"id": held.task_id}, expires_at=NOW)
    await bench.tasks.prune(100)
    assert (await bench.task(late))["state"] == "expired"
    assert (await bench.task(early))["state"] == "queued"
    assert (await bench.task(held.task_id))["state"] == "assigned"  # it has started in time


async def test_a_table_that_was_empty_when_it_was_counted_is_counted_anew(postgres: Bench) -> None:
    await postgres.database.execute("VACUUM ANALYZE callboard_tasks")
    assert not await postgres.tasks.refresh_statistics()
    await postgres.put(5_000)
    await postgres.database.execute("SELECT pg_stat_force_next_flush()")
    with trio.fail_after(15):
        while not await postgres.tasks.refresh_statistics():
            await trio.sleep(0.1)
    tuples = "SELECT reltuples FROM pg_class WHERE oid = 'callboard_tasks'::regclass"
    assert await postgres.database.value(tuples) == 5_000
    assert not await postgres.tasks.refresh_statistics()
