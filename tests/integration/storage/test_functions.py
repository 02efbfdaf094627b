"""The SQL functions: what callers do inside transactions of their own."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asyncpg import exceptions as pg

from actors.model import zones
from actors.model.schedule import Definition
from storage.store import Store
from tests.support.bench import Bench, Database


async def schedule(database: Database, arguments: str) -> int:
    return int(await database.value(f"SELECT callboard_schedule({arguments})"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("'s', 'job', cron => '* * * *'", "cron has 4 fields instead of 5"),
        ("'s', 'job', cron => '* * * * * *'", "cron has 6 fields instead of 5; for six fields say seconds => true"),
        ("'s', 'job', cron => '61 * * * *'", "cron minute '61' must be from 0 to 59"),
        ("'s', 'job', cron => '*/61 * * * *'", "cron minute '*/61': the step must be from 1 to 59"),
        ("'s', 'job', cron => '5-1 * * * *'", "cron minute '5-1' runs backwards"),
        ("'s', 'job', cron => '* * * FOO *'", "cron month 'FOO' must be from 1 to 12"),
        ("'s', 'job', cron => '* * * ANF *'", "cron month 'ANF' must be from 1 to 12"),
        ("'s', 'job', cron => '*-3 * * * *'", "is not understood"),
        ("'s', 'job', cron => '@reboot'", "'@reboot' is not known"),
        ("'s', 'job'", "give one of cron, every or at; there are 0"),
        ("'s', 'job', cron => '@daily', every => 5", "give one of cron, every or at; there are 2"),
        ("'s', 'job', every => 0.5", "every must be from 1 to"),
        ("'s', 'job', at => '2001-01-01Z'", "is past: it would never fire"),
        ("'s', 'job', cron => '@daily', timezone => 'Mars/Base'", "'Mars/Base' is no IANA name"),
        ("'s', 'job', cron => '@daily', overlap => 'never'", "overlap must be one of allow, skip"),
        ("'s', 'job', cron => '@daily', priority => 9", "priority must be from 1 to 4, got 9"),
        ("'s', 'job', cron => '@daily', args => '[]'", "args must be a JSON object"),
        ("'a b', 'job', cron => '@daily'", "name 'a b' must have"),
        ("'s', 'a b', cron => '@daily'", "task must have 1 to 200 characters"),
    ],
)
async def test_a_wrong_schedule_is_refused_by_name(bench: Bench, arguments: str, words: str) -> None:
    with pytest.raises(pg.InvalidParameterValueError) as refused:
        await schedule(bench.database, arguments)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "cron", ["@daily", "*/5 * * * *", "0 9-17/2 * jan-mar MON,3", "0 0 L * *", "0 0 * * 5L", "0 0 * * tue#2"]
)
async def test_a_cron_expression_is_taken(bench: Bench, cron: str) -> None:
    assert await schedule(bench.database, f"'s', 'job', cron => '{cron}'")


async def test_a_schedule_is_there_with_the_commit_and_fires_when_a_scheduler_has_seen_it(
    bench: Bench, store: Store
) -> None:
    schedules = store.schedules
    await schedule(
        bench.database, "'s', 'job', args => '{\"x\": 1}', every => 60, jitter => 2, queue => 'q', priority => 3"
    )
    found = await schedules.get("s")
    assert found is not None
    assert found.next_slot_at is None
    assert (await schedules.look()).untimed
    assert await schedules.retime(zones.data_version(), limit=10) == 1
    found = await schedules.get("s")
    assert found is not None
    assert found.next_slot_at is not None
    assert found.next_slot_at == found.anchor + timedelta(seconds=60)
    assert found.definition == Definition(
        every=60.0, jitter=2.0, task={"name": "job", "queue": "q", "priority": 3, "args": {"x": 1}}
    )
    assert not (await schedules.look()).untimed


async def test_the_same_schedule_again_changes_nothing_and_another_takes_its_place(bench: Bench, store: Store) -> None:
    schedules = store.schedules
    number = await schedule(bench.database, "'s', 'job', cron => '@daily', timezone => 'Europe/Berlin'")
    await schedules.retime(zones.data_version(), limit=10)
    first = await schedules.get("s")
    assert await schedule(bench.database, "'s', 'job', cron => '@daily', timezone => 'Europe/Berlin'") == number
    assert await schedules.get("s") == first
    assert await schedule(bench.database, "'s', 'job', cron => '@hourly', timezone => 'Europe/Berlin'") == number
    await schedules.retime(zones.data_version(), limit=10)
    second = await schedules.get("s")
    assert first is not None
    assert second is not None
    assert (second.version, second.definition.cron) == (2, "@hourly")
    assert second.next_slot_at is not None
    assert second.counted_to > first.counted_to
    assert await bench.database.value("SELECT callboard_unschedule('s')")
    assert await schedules.get("s") is None
    assert not await bench.database.value("SELECT callboard_unschedule('s')")


async def test_a_day_that_never_comes_pauses_the_schedule_and_says_why(bench: Bench, store: Store) -> None:
    await schedule(bench.database, "'s', 'job', cron => '0 0 30 2 *'")
    await schedule(bench.database, "'t', 'job', cron => '0 0 28 2 *'")
    await store.schedules.retime(zones.data_version(), limit=10)
    found, other = await store.schedules.get("s"), await store.schedules.get("t")
    assert found is not None
    assert other is not None
    assert found.paused
    assert "never matches any day" in str(found.paused_reason)
    assert other.next_slot_at is not None


async def test_a_waiting_task_is_cancelled_with_the_commit_only(bench: Bench) -> None:
    [task] = await bench.put()
    await bench.database.execute("BEGIN")
    assert await bench.database.value("SELECT callboard_cancel($1)", task) == "cancelled"
    await bench.database.execute("ROLLBACK")
    assert (await bench.task(task))["state"] == "queued"
    assert await bench.database.value("SELECT callboard_cancel($1)", task) == "cancelled"
    assert await bench.database.value("SELECT callboard_cancel($1)", task) == "cancelled"
    assert (await bench.task(task))["state"] == "cancelled"
    assert await bench.database.value("SELECT callboard_cancel(4711)") is None
