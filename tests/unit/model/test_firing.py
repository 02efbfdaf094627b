"""Decisions about slots: every nominal time is accounted for exactly once, whatever happens to clock and schedule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.model import firing
from actors.model.firing import Firing, Previous, decide
from actors.model.recurrence import Fold, Gap
from actors.model.schedule import CatchUp, Definition, Overlap, Schedule
from actors.model.schedule_changes import created, edited, paused, resumed
from tests.support.slow_cron import walk

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
IDLE = Previous()


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def a_schedule(now: datetime = START, **fields: Any) -> Schedule:
    rule: dict[str, Any] = {} if fields.keys() & {"cron", "at"} else {"every": 60.0}
    return created("s", Definition(task={"name": "job"}, **rule, **fields), now, id=7)


@dataclass
class Ledger:
    """What a store would hold after a number of steps."""

    fired: list[datetime] = field(default_factory=list)
    skipped: dict[datetime, str] = field(default_factory=dict)
    gaps: dict[datetime, tuple[datetime, int, str]] = field(default_factory=dict)

    def enter(self, step: Firing) -> Schedule:
        for plan in [*step.fire, *step.wait]:
            assert plan.at not in self.fired
            assert plan.at not in self.skipped
            self.fired.append(plan.at)
        for one in step.skip:
            assert one.at not in self.skipped
            self.skipped[one.at] = one.reason
        for gap in step.gaps:
            self.enter_gap(gap)
        return step.schedule

    def enter_gap(self, gap: firing.GapEntry) -> None:
        _, before, reason = self.gaps.get(gap.first, (gap.first, 0, gap.reason))
        assert reason == gap.reason
        self.gaps[gap.first] = (gap.last, before + gap.count, reason)

    @property
    def accounted(self) -> int:
        return len(self.fired) + len(self.skipped) + sum(count for _, count, _ in self.gaps.values())


def run(schedule: Schedule, ledger: Ledger, now: datetime, previous: Previous = IDLE) -> Schedule:
    """Steps until nothing is due."""
    for _ in range(200):
        if schedule.paused or schedule.next_slot_at is None or schedule.next_slot_at > now:
            return schedule
        before = schedule.counted_to
        schedule = ledger.enter(decide(schedule, now, previous))
        assert schedule.counted_to >= before
    raise AssertionError("it does not come to an end")


def test_a_slot_that_is_late_by_a_minute_just_fires() -> None:
    ledger = Ledger()
    schedule = run(a_schedule(catch_up=CatchUp.NONE), ledger, START + seconds(120))
    assert ledger.fired == [START + seconds(60), START + seconds(120)]
    assert not ledger.skipped
    assert (schedule.next_slot_at, schedule.last_slot_at) == (START + seconds(180), START + seconds(120))


@pytest.mark.parametrize(
    ("policy", "fired", "reason"),
    [
        (CatchUp.NONE, [590], firing.MISSED),
        (CatchUp.LAST, [530, 590], firing.NOT_NEWEST),
        (CatchUp.ALL, [290, 350, 410, 590], None),
    ],
)
def test_what_was_missed_meets_the_policy(policy: CatchUp, fired: list[int], reason: str | None) -> None:
    first = START - seconds(10)
    schedule = a_schedule(now=first - seconds(60), catch_up=policy, catch_up_window=310, catch_up_cap=3)
    ledger = Ledger()
    run(schedule, ledger, START + seconds(595))
    assert ledger.fired == [START + seconds(one) for one in fired]
    if reason is not None:
        assert set(ledger.skipped.values()) == {reason}
    else:
        old = [at for at, why in ledger.skipped.items() if why == firing.TOO_OLD]
        assert old == [START + seconds(one) for one in (-10, 50, 110, 170, 230)]
        assert [at for at, why in ledger.skipped.items() if why == firing.OVER_CAP] == [
            START + seconds(470),
            START + seconds(530),
        ]
    assert ledger.accounted == 11


def test_the_cap_and_the_newest_hold_across_steps() -> None:
    now = START + timedelta(days=4)  # 5,760 minutes: three steps
    for policy, count in ((CatchUp.ALL, 100), (CatchUp.LAST, 1)):
        ledger = Ledger()
        schedule = a_schedule(catch_up=policy, catch_up_window=1e6)
        step = decide(schedule, now, Previous())
        assert step.schedule.counted_to == START + seconds(60 * firing.STEP)
        schedule = run(schedule, ledger, now)
        assert len(ledger.fired) == count + 2  # those of the last minute are not missed
        assert ledger.accounted == 4 * 1440
        assert schedule.catching_up == 0


def test_overlap_within_one_step_and_with_a_task_before() -> None:
    late = START + seconds(121)
    busy = Previous(task=17)

    def plan(policy: Overlap, previous: Previous) -> tuple[list[int], list[int], dict[int, str], bool]:
        step = decide(a_schedule(overlap=policy), late, previous)

        def offset(at: datetime) -> int:
            return int((at - START).total_seconds())

        fire, wait = [offset(one.at) for one in step.fire], [offset(one.at) for one in step.wait]
        return fire, wait, {offset(one.at): one.reason for one in step.skip}, step.cancel

    unfinished = "overlap: task 17 is unfinished"
    assert plan(Overlap.ALLOW, busy) == ([60, 120], [], {}, False)
    assert plan(Overlap.SKIP, busy) == ([], [], {60: unfinished, 120: unfinished}, False)
    assert plan(Overlap.SKIP, Previous()) == ([60], [], {120: firing.SAME_TIME}, False)
    assert plan(Overlap.QUEUE_ONE, busy) == ([], [60], {120: unfinished}, False)
    assert plan(Overlap.QUEUE_ONE, Previous()) == ([60], [120], {}, False)
    assert plan(Overlap.QUEUE_ONE, Previous(17, waiting=True)) == ([], [], {60: unfinished, 120: unfinished}, False)
    assert plan(Overlap.CANCEL_RUNNING, busy) == ([], [120], {60: firing.NEWER}, True)
    assert plan(Overlap.CANCEL_RUNNING, Previous()) == ([120], [], {60: firing.NEWER}, False)
    assert decide(a_schedule(overlap=Overlap.CANCEL_RUNNING), late, Previous(17, waiting=True)).give_up_waiting


def test_nothing_fires_while_paused_and_nothing_of_the_pause_afterwards() -> None:
    schedule = paused(a_schedule(), "the disk is full", START + seconds(30))
    assert not decide(schedule, START + timedelta(days=9), Previous()).fire
    back = START + timedelta(days=9, seconds=30)
    ledger = Ledger()
    schedule = run(resumed(schedule, back), ledger, back + seconds(100))
    assert ledger.fired == [back + seconds(30), back + seconds(90)]
    assert list(ledger.gaps.values()) == [(back - seconds(30), 9 * 1440, "paused: the disk is full")]


def test_a_long_gap_of_a_cron_schedule_is_one_entry_counted_in_steps() -> None:
    back = START + timedelta(days=5)
    schedule = resumed(paused(a_schedule(cron="* * * * *"), None, START), back)
    assert decide(schedule, back, Previous()).gaps[0].count == firing.STEP + 1
    ledger = Ledger()
    schedule = run(schedule, ledger, back)
    assert list(ledger.gaps.values()) == [(back, 5 * 1440, "paused")]
    assert schedule.gap_from is schedule.skip_until is None


def test_an_edit_counts_from_now_and_one_that_moves_no_time_moves_nothing() -> None:
    now = START + seconds(150)
    schedule = a_schedule()
    other, entry = edited(schedule, replace(schedule.definition, task={"name": "other"}), now)
    assert (other.counted_to, other.version, entry) == (schedule.counted_to, 2, None)
    assert edited(schedule, replace(schedule.definition), now) == (schedule, None)
    moved, entry = edited(schedule, replace(schedule.definition, every=100.0), now)
    assert moved.next_slot_at == now + seconds(100)
    assert entry is not None
    assert (entry.first, entry.last, entry.count) == (START + seconds(60), START + seconds(120), 2)


def test_an_edit_after_a_very_long_time_says_that_it_stopped_counting() -> None:
    schedule = a_schedule(cron="* * * * *")
    _, entry = edited(schedule, replace(schedule.definition, cron="0 * * * *"), START + timedelta(days=60))
    assert entry is not None
    assert entry.reason.endswith("at least so many")


def test_a_clock_that_goes_back_fires_nothing_twice() -> None:
    ledger = Ledger()
    schedule = run(a_schedule(), ledger, START + seconds(300))
    for now in (100, 30, 299):
        schedule = run(schedule, ledger, START + seconds(now))
        assert not decide(schedule, START + seconds(now), Previous()).fire
    run(schedule, ledger, START + seconds(361))
    assert ledger.fired[-1] == START + seconds(360)
    assert ledger.accounted == 6


def test_start_end_and_single_times() -> None:
    ledger = Ledger()
    limits = {"start_at": START + seconds(90), "end_at": START + seconds(200)}
    assert run(a_schedule(**limits), ledger, START + seconds(220)).next_slot_at is None
    assert ledger.fired + list(ledger.skipped) == [START + seconds(150), START + seconds(90)]
    once = Ledger()
    assert run(a_schedule(at=START + seconds(5)), once, START + timedelta(hours=2)).next_slot_at is None
    assert once.fired == [START + seconds(5)]


def test_jitter_is_bounded_and_the_same_for_a_slot() -> None:
    schedule = a_schedule(jitter=30.0)
    plans = [firing.run_at(schedule, START + seconds(60 * one)) - seconds(60 * one) for one in range(200)]
    offsets = [(one - START).total_seconds() for one in plans]
    assert 0 <= min(offsets) < 5 < 25 < max(offsets) < 30
    assert firing.run_at(schedule, START) == firing.run_at(replace(schedule, version=3), START)
    assert firing.run_at(schedule, START) != firing.run_at(replace(schedule, id=8), START)


def nominal(definition: Definition, anchor: datetime, after: datetime, until: datetime) -> list[datetime]:
    """A second opinion on which nominal times there are."""
    if definition.cron is not None:
        whole = after.replace(second=0, microsecond=0)
        found = walk(definition.cron, definition.timezone, whole, until, gap=Gap.SHIFT, fold=Fold.FIRST)
        return [at for at in found if after < at <= until]
    step, at, found = seconds(definition.every or 0), anchor, []
    while at <= until:
        found += [at] if at > after else []
        at += step
    return found


TASK = {"name": "job"}
DEFINITIONS = [
    Definition(task=TASK, cron="*/7 * * * *", catch_up=CatchUp.ALL, catch_up_cap=3, overlap=Overlap.QUEUE_ONE),
    Definition(task=TASK, cron="30 2 * * *", timezone="Europe/Berlin"),
    Definition(task=TASK, every=17.0, catch_up=CatchUp.NONE, overlap=Overlap.SKIP),
    Definition(task=TASK, every=601.5, overlap=Overlap.CANCEL_RUNNING),
]
MOVES = st.one_of(
    st.tuples(st.just("pass"), st.floats(0, 40_000)),
    st.tuples(st.just("jump back"), st.floats(0, 4_000)),
    st.tuples(st.just("pause"), st.floats(0, 9_000)),
    st.tuples(st.just("edit"), st.integers(0, len(DEFINITIONS) - 1)),
)


@given(st.integers(0, len(DEFINITIONS) - 1), st.lists(MOVES, max_size=8), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_nominal_time_is_accounted_for_exactly_once(first: int, moves: list[tuple[str, Any]], busy: bool) -> None:
    now = datetime(2026, 3, 28, 20, 0, 0, tzinfo=UTC)  # hours before Berlin's clocks change
    schedule = created("s", DEFINITIONS[first], now, id=1)
    since, ledger, expected = now, Ledger(), 0
    previous = Previous(task=1) if busy else Previous()
    for move, value in moves:
        match move:
            case "pass":
                now += seconds(round(value))
            case "jump back":
                now -= seconds(round(value))
            case "pause":
                schedule = paused(schedule, None, now)
                now += seconds(round(value))
                schedule = resumed(schedule, now)
            case "edit":
                then = max(now, schedule.counted_to)
                changed, entry = edited(schedule, DEFINITIONS[value], now)
                if entry is not None:
                    ledger.enter_gap(entry)
                if changed.definition.timing != schedule.definition.timing:
                    expected += len(nominal(schedule.definition, schedule.anchor, since, then))
                    since = then
                schedule = changed
        schedule = run(schedule, ledger, now, previous)
    until = max(now, schedule.counted_to)
    expected += len(nominal(schedule.definition, schedule.anchor, since, until))
    assert ledger.accounted == expected
    assert len(set(ledger.fired)) == len(ledger.fired)
