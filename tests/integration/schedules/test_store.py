"""Schedules in PostgreSQL: a slot is there once, its task is there once, and policies hold between transactions."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trio

from actors.model.errors import BadValue, Conflict, NotFound
from actors.model.firing import Firing
from actors.model.schedule import CatchUp, Definition, Overlap, Schedule, SlotKind, SlotState
from actors.model.schedule_changes import edited, paused, resumed
from storage.schedules import PostgresSchedules
from storage.store import Store, open_store
from tests.integration.schedules.conftest import Book, plan


async def test_a_slot_and_its_task_are_stored_together(book: Book, store: Store) -> None:
    made = await book.add(since=65, task={"name": "job", "args": {"a": 1}, "queue": "q"})
    assert await book.fire() == (1, 1)
    assert await book.fire() == (0, 0)
    [slot] = await store.schedules.slots(made.id, limit=10, before_id=None)
    assert (slot.state, slot.kind, slot.slot_at) == (SlotState.FIRED, SlotKind.NOMINAL, made.next_slot_at)
    assert slot.task_id is not None
    task = await store.tasks.get(slot.task_id)
    assert task is not None
    assert (task.name, task.queue, task.args, task.schedule) == ("job", "q", {"a": 1}, "s")
    assert list(task.metadata) == ["callboard.slot_at"]
    after = await store.schedules.get("s")
    assert after is not None
    assert after.last_slot_at == after.counted_to == made.next_slot_at
    assert after.next_slot_at == slot.slot_at + timedelta(seconds=60)


async def test_names_are_unique_until_deleted(book: Book, store: Store) -> None:
    await book.add("one")
    with pytest.raises(Conflict, match="PUT replaces it"):
        await book.add("one")
    await store.schedules.delete("one")
    with pytest.raises(NotFound):
        await store.schedules.delete("one")
    assert await store.schedules.get("one") is None
    again = await book.add("one")
    await book.add("two")
    found = await store.schedules.find(limit=10, before_id=None)
    assert [one.name for one in found] == ["two", "one"]
    assert [one.name for one in await store.schedules.find(limit=1, before_id=again.id + 1)] == ["one"]


async def test_what_was_missed_is_accounted_for_in_bounded_steps(book: Book) -> None:
    await book.add(
        since=4 * 86_400 + 5, cron=None, every=60.0, catch_up=CatchUp.ALL, catch_up_window=1e6, catch_up_cap=7
    )
    steps = 0
    while (await book.fire())[0]:
        steps += 1
    assert steps == 3
    states = await book.ledger()
    assert sum(count for _, count in states) == 4 * 1440
    assert sum(count for state, count in states if state == "fired") == 7 + 1  # the last one is not missed


async def test_two_schedulers_race_and_each_slot_is_posted_once(book: Book, database_url: str) -> None:
    for number in range(40):
        await book.add(f"s{number}", since=200, catch_up=CatchUp.ALL)
    async with open_store(database_url) as other, trio.open_nursery() as nursery:
        posted: list[int] = []

        async def work(schedules: PostgresSchedules) -> None:
            for _ in range(30):
                posted.append((await schedules.fire(plan, limit=7)).tasks)

        for one in (other.schedules, other.schedules, book.schedules):
            nursery.start_soon(work, one)
    rows = await book.database.fetch(
        "SELECT count(*) AS slots, count(DISTINCT (schedule_id, slot_at)) AS different, count(task_id) AS tasks"
        " FROM callboard_schedule_slots"
    )
    assert tuple(rows[0]) == (120, 120, 120)
    assert sum(posted) == len(await book.unfinished()) == 120


async def test_a_scheduler_that_dies_before_the_commit_leaves_the_slot_to_another(book: Book) -> None:
    await book.add(since=65)

    def dies(*_: object) -> list[Firing]:
        raise RuntimeError("killed between decision and commit")

    with pytest.raises(RuntimeError):
        await book.schedules.fire(dies, limit=10)
    assert await book.ledger() == []
    assert await book.fire() == (1, 1)


async def test_a_decision_that_is_entered_twice_posts_once(book: Book, store: Store) -> None:
    made = await book.add(since=65)
    await book.fire()
    await book.database.execute(
        "UPDATE callboard_schedules SET counted_to = $1, next_slot_at = $2", made.counted_to, made.next_slot_at
    )
    assert await book.fire() == (1, 0)
    assert await book.ledger() == [("fired", 1)]


async def test_a_thousand_schedules_of_one_minute_fire_within_two_seconds(book: Book) -> None:
    await book.add("s", cron="* * * * *", every=None)
    await book.database.execute(
        "INSERT INTO callboard_schedules (name, definition, lane_id, anchor, counted_to, next_slot_at, created_at,"
        " updated_at) SELECT 'n' || n, definition, lane_id, anchor, counted_to - interval '1 minute',"
        " next_slot_at - interval '1 minute', created_at, updated_at"
        " FROM callboard_schedules, generate_series(1, 1000) AS n"
    )
    started = time.monotonic()
    posted = 0
    while (fired := await book.fire())[0]:
        posted += fired[1]
    assert posted == 1000
    assert time.monotonic() - started < 2


async def test_skip_says_which_task_was_in_the_way(book: Book, store: Store) -> None:
    made = await book.add(since=65, overlap=Overlap.SKIP)
    await book.fire()
    [task] = await book.unfinished()
    await book.age(60)
    assert await book.fire() == (1, 0)
    [slot, _] = await store.schedules.slots(made.id, limit=10, before_id=None)
    assert (slot.state, slot.reason) == (SlotState.SKIPPED, f"overlap: task {task} is unfinished")
    await book.finish(task)
    await book.age(60)
    assert await book.fire() == (1, 1)


async def test_queue_one_keeps_one_waiting_and_posts_it_after_the_other(book: Book) -> None:
    await book.add(since=65, overlap=Overlap.QUEUE_ONE)
    await book.fire()
    for _ in range(2):
        await book.age(60)
        await book.fire()
    assert await book.ledger() == [("fired", 1), ("waiting", 1), ("skipped", 1)]
    assert (await book.schedules.look()).waiting
    assert await book.schedules.post_waiting(limit=10) == 0
    [task] = await book.unfinished()
    await book.finish(task)
    assert await book.schedules.post_waiting(limit=10) == 1
    assert await book.schedules.post_waiting(limit=10) == 0
    assert await book.ledger() == [("fired", 1), ("fired", 1), ("skipped", 1)]
    assert len(await book.unfinished()) == 1


async def test_many_who_post_what_waits_post_it_once(book: Book, database_url: str) -> None:
    await book.add(since=125, overlap=Overlap.QUEUE_ONE, catch_up=CatchUp.ALL)
    await book.fire()
    [task] = await book.unfinished()
    await book.finish(task)
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(lambda: book.schedules.post_waiting(limit=10))
    assert len(await book.unfinished()) == 1


async def test_cancel_running_asks_the_task_to_stop_and_the_newest_slot_follows(book: Book, store: Store) -> None:
    await book.add(since=65, overlap=Overlap.CANCEL_RUNNING)
    await book.fire()
    [task] = await book.unfinished()
    await book.database.execute(
        "UPDATE callboard_tasks SET state = 'assigned', attempt = 1, lease_key = gen_random_uuid(), session_id = 1"
    )
    for _ in range(2):
        await book.age(60)
        await book.fire()
    assert await book.ledger() == [("fired", 1), ("skipped", 1), ("waiting", 1)]
    held = await store.tasks.get(task)
    assert held is not None
    assert held.cancel_requested_at is not None
    await book.finish(task)
    assert await book.schedules.post_waiting(limit=10) == 1


async def test_cancel_running_of_a_task_that_only_waited_makes_room_at_once(book: Book) -> None:
    await book.add(since=65, overlap=Overlap.CANCEL_RUNNING)
    await book.fire()
    before = await book.unfinished()
    await book.age(60)
    await book.fire()
    assert await book.schedules.post_waiting(limit=10) == 1
    assert len(await book.unfinished()) == 1
    assert await book.unfinished() != before


async def test_pause_resume_and_edit(book: Book, store: Store) -> None:
    await book.add(since=65, overlap=Overlap.QUEUE_ONE)
    await book.fire()
    await book.age(60)
    await book.fire()
    await store.schedules.change("s", lambda one, now: (paused(one, "a move", now), None))
    assert await book.ledger() == [("fired", 1), ("skipped", 1)]
    await book.age(3000)
    assert await book.fire() == (0, 0)
    await store.schedules.change("s", lambda one, now: (resumed(one, now), None))
    assert (await book.schedules.look()).overdue == 0
    assert await book.fire() == (1, 0)
    assert await book.ledger() == [("fired", 1), ("skipped", 1), ("gap", 50)]
    await book.age(130)

    def edit(one: Schedule, now: datetime) -> tuple[Schedule, object]:
        return edited(one, replace(one.definition, every=100.0, task={"name": "other"}), now)

    changed = await store.schedules.change("s", edit, definition=Definition(task={"name": "other"}, every=1.0))  # type: ignore[arg-type]
    assert changed.version == 2
    assert await book.fire() == (0, 0)
    assert (await book.ledger())[-1] == ("gap", 2)
    [running] = await book.unfinished()
    await book.finish(running)
    await book.age(101)
    assert await book.fire() == (1, 1)
    [task] = await book.unfinished()
    found = await store.tasks.get(task)
    assert found is not None
    assert found.name == "other"


async def test_trigger_counts_as_no_nominal_time_and_keeps_to_overlap(book: Book, store: Store) -> None:
    made = await book.add(overlap=Overlap.SKIP)
    slot = await store.schedules.trigger("s")
    assert (slot.kind, slot.state) == (SlotKind.TRIGGER, SlotState.FIRED)
    assert slot.slot_at.microsecond % 1000
    with pytest.raises(Conflict, match=f"task {slot.task_id} is unfinished"):
        await store.schedules.trigger("s")
    after = await store.schedules.get("s")
    assert after is not None
    assert after.counted_to == made.counted_to
    with pytest.raises(NotFound):
        await store.schedules.trigger("nobody")


async def test_backfill_posts_each_slot_once_oldest_first(book: Book, store: Store) -> None:
    made = await book.add(since=605, catch_up=CatchUp.NONE)
    await book.fire()  # the newest is fired, nine are skipped
    start, until = made.anchor + timedelta(seconds=1), datetime.now(UTC)
    with pytest.raises(BadValue, match="more than 5 nominal times"):
        await store.schedules.backfill("s", start, until, limit=5)
    first = await store.schedules.backfill("s", start, until, limit=100)
    assert (first.posted, first.waiting, first.already) == (9, 0, 1)
    again = await store.schedules.backfill("s", start, until, limit=100)
    assert (again.posted, again.already) == (0, 10)
    rows = await book.database.fetch(
        "SELECT w.slot_at FROM callboard_tasks t JOIN callboard_schedule_slots w ON w.task_id = t.id"
        " WHERE w.kind = 'backfill' ORDER BY t.id"
    )
    times = [row["slot_at"] for row in rows]
    assert times == sorted(times)
    assert len(times) == 9


async def test_backfill_of_a_schedule_that_must_not_overlap_waits_in_line(book: Book, store: Store) -> None:
    made = await book.add(since=305, catch_up=CatchUp.NONE, overlap=Overlap.SKIP)
    await book.fire()
    found = await store.schedules.backfill("s", made.anchor + timedelta(seconds=60), datetime.now(UTC), limit=100)
    assert (found.posted, found.waiting, found.already) == (0, 4, 1)
    for left in (4, 3, 2, 1):
        [task] = await book.unfinished()
        assert sum(count for state, count in await book.ledger() if state == "waiting") == left
        await book.finish(task)
        assert await store.schedules.post_waiting(limit=10) == 1


async def test_a_schedule_that_should_have_fired_is_overdue_after_a_minute(book: Book) -> None:
    await book.add(since=110)
    assert (await book.schedules.look()).overdue == 0
    await book.age(20)
    look = await book.schedules.look()
    assert (look.overdue, look.names) == (1, ("s",))
    await book.fire()
    assert (await book.schedules.look()).overdue == 0


async def test_new_time_zone_data_moves_what_is_due_next(book: Book, store: Store) -> None:
    made = await book.add(cron="0 3 * * *", every=None, timezone="Europe/Berlin")
    await book.database.execute(
        "UPDATE callboard_schedules SET next_slot_at = next_slot_at + interval '1 hour', tzdata = '1999a'"
    )
    assert await store.schedules.retime("2099z", limit=10) == 1
    assert await store.schedules.get("s") == made


async def test_the_ledger_goes_with_retention(book: Book, store: Store) -> None:
    await book.add(since=65)
    await book.fire()
    assert await store.schedules.prune(100) == 0
    await book.database.execute("UPDATE callboard_schedule_slots SET created_at = now() - interval '31 days'")
    assert await store.schedules.prune(100) == 1
