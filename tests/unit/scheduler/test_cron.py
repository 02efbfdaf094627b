"""The actor that fires schedules, in virtual time over a store in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.model.errors import BadValue, StorageUnavailable
from actors.model.firing import Previous
from actors.model.schedule import Definition, Health, Schedule
from actors.model.schedule_changes import created, resumed
from actors.model.schedule_changes import paused as pause_of
from actors.model.schedule_port import Fired, Plan
from actors.scheduler.cron import Cron
from tests.support.fake_store import FakeWakeups

START = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass
class Schedules:
    """As much of a store as the actor needs; its clock is Trio's."""

    held: list[Schedule] = field(default_factory=list)
    fired: list[datetime] = field(default_factory=list)
    waiting: list[datetime] = field(default_factory=list)
    running: bool = False
    away: bool = False
    locked: bool = False
    ahead: float = 0.0  # seconds of the database's clock
    calls: int = 0
    poison: int = 0  # a schedule whose tasks the database refuses

    def now(self) -> datetime:
        return START + timedelta(seconds=trio.current_time() + self.ahead)

    async def _called(self) -> None:
        await trio.lowlevel.checkpoint()
        self.calls += 1
        if self.away:
            raise StorageUnavailable("it is away")

    async def look(self) -> Health:
        await self._called()
        due = [one.next_slot_at for one in self.held if one.next_slot_at is not None]
        return Health(now=self.now(), next_at=min(due, default=None), waiting=bool(self.waiting), overdue=0)

    async def fire(self, plan: Plan, *, limit: int) -> Fired:
        await self._called()
        now = self.now()
        due = [one for one in self.held if one.next_slot_at is not None and one.next_slot_at <= now][:limit]
        if self.locked:
            return Fired(0, 0)
        firings = plan(now, [(one, Previous()) for one in due])
        if any(one.schedule.id == self.poison for one in firings):
            raise BadValue("args", "what the database can't hold")
        for firing in firings:
            place = next(n for n, one in enumerate(self.held) if one.id == firing.schedule.id)
            self.held[place] = firing.schedule
            self.fired += [one.at for one in firing.fire]
        return Fired(len(firings), sum(len(one.fire) for one in firings))

    async def post_waiting(self, *, limit: int) -> int:
        await self._called()
        if self.running or not self.waiting:
            return 0
        self.fired.append(self.waiting.pop())
        return 1

    async def retime(self, data_version: str, *, limit: int) -> int:
        await self._called()
        return 0

    async def prune(self, limit: int) -> int:
        await self._called()
        return 0


@pytest.fixture
def schedules() -> Schedules:
    return Schedules()


def cron_of(schedules: Schedules, wakeups: FakeWakeups | None = None) -> Cron:
    return Cron(schedules, wakeups or FakeWakeups(), steady=trio.current_time)  # type: ignore[arg-type]


def every(seconds: float, **fields: Any) -> Schedule:
    return created("s", Definition(task={"name": "job"}, every=seconds, **fields), START, id=1)


async def after(cron: Cron, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await cron.run()


async def test_it_fires_when_a_slot_is_due_and_rarely_looks_before(
    schedules: Schedules, autojump_clock: MockClock
) -> None:
    schedules.held = [every(60)]
    await after(cron_of(schedules), 185)
    assert schedules.fired == [START + timedelta(seconds=one) for one in (60, 120, 180)]
    assert schedules.calls < 60


async def test_without_schedules_it_asks_every_few_seconds(schedules: Schedules, autojump_clock: MockClock) -> None:
    await after(cron_of(schedules), 100)
    assert schedules.calls <= 25


async def test_a_hint_of_a_change_makes_it_look_at_once(schedules: Schedules, autojump_clock: MockClock) -> None:
    wakeups = FakeWakeups()
    cron = cron_of(schedules, wakeups)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cron.run)
        await trio.sleep(1)
        schedules.held = [every(2)]
        wakeups.notify("schedules")
        await trio.sleep(1.2)
        assert schedules.fired == [START + timedelta(seconds=2)]
        nursery.cancel_scope.cancel()


async def test_a_slot_that_waits_is_posted_on_the_hint_that_a_task_ended(
    schedules: Schedules, autojump_clock: MockClock
) -> None:
    wakeups = FakeWakeups()
    schedules.waiting, schedules.running = [START], True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cron_of(schedules, wakeups).run)
        await trio.sleep(0.5)
        assert not schedules.fired
        schedules.running = False
        wakeups.notify("final")
        await trio.sleep(0.3)
        assert schedules.fired == [START]
        nursery.cancel_scope.cancel()


async def test_the_database_being_away_is_waited_for(schedules: Schedules, autojump_clock: MockClock) -> None:
    schedules.held, schedules.away = [every(10)], True
    cron = cron_of(schedules)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cron.run)
        await trio.sleep(25)
        assert schedules.calls < 60
        schedules.away = False
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert schedules.fired == [START + timedelta(seconds=one) for one in (10, 20)]


async def test_what_another_has_locked_is_asked_for_again_without_haste(
    schedules: Schedules, autojump_clock: MockClock
) -> None:
    schedules.held, schedules.locked = [every(1)], True
    await after(cron_of(schedules), 20)
    assert not schedules.fired
    assert schedules.calls < 100


async def test_nothing_fires_after_a_jump_of_the_databases_clock_until_it_proves_steady(
    schedules: Schedules, autojump_clock: MockClock
) -> None:
    schedules.held = [every(30, catch_up="none")]
    cron = cron_of(schedules)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cron.run)
        await trio.sleep(31)
        assert len(schedules.fired) == 1
        schedules.ahead = 3_600.0
        await trio.sleep(15)
        assert len(schedules.fired) == 1
        assert cron.held is not None
        assert "3600 s" in cron.held
        await trio.sleep(30)
        assert cron.held is None
        assert len(schedules.fired) > 1
        nursery.cancel_scope.cancel()


async def test_a_schedule_that_cannot_be_understood_stops_no_other(
    schedules: Schedules, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Schedule(
        id=2, name="bad", definition=Definition(task={"name": "job"}, cron="x"), version=1, anchor=START,
        counted_to=START, next_slot_at=START, created_at=START, updated_at=START,
    )  # fmt: skip
    schedules.held = [bad, every(10)]
    await after(cron_of(schedules), 12)
    assert schedules.fired == [START + timedelta(seconds=10)]
    assert caplog.text.count("bad (version 1) can't be fired here") == 1


async def test_a_schedule_whose_task_the_database_refuses_stops_no_other_and_is_tried_again_when_edited(
    schedules: Schedules, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    schedules.held, schedules.poison = [replace(every(10), id=2, name="bad"), every(10)], 2
    cron = cron_of(schedules)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cron.run)
        await trio.sleep(25)
        assert schedules.fired == [START + timedelta(seconds=one) for one in (10, 20)]
        assert caplog.text.count("bad (version 1) can't be fired here") == 1
        schedules.poison = 0
        schedules.held[0] = replace(schedules.held[0], version=2)
        await trio.sleep(2)
        assert len(schedules.fired) == 4
        nursery.cancel_scope.cancel()


def test_one_transaction_looks_at_a_bounded_number_of_nominal_times() -> None:
    cron = Cron(Schedules(), FakeWakeups(), steady=lambda: 0.0)  # type: ignore[arg-type]
    for fields in ({"every": 1.0}, {"cron": "* * * * *", "catch_up": "none"}):
        far = created("s", Definition(task={"name": "job"}, **fields), START, id=1)
        many = [(far, Previous())] * 10
        firings = cron._plan(START + timedelta(days=9), many)
        assert [one.looked_at for one in firings] == [2_000]
    paused = resumed(pause_of(far, None, START), START + timedelta(days=9))
    assert len(cron._plan(START + timedelta(days=9), [(paused, Previous())] * 10)) == 1
    few = [(every(60), Previous())] * 150
    assert len(cron._plan(START + timedelta(seconds=61), few)) == 150
