"""Turns, room and judgement, as pure functions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.coordinator.dispatcher import group
from actors.coordinator.rules import LEAD, PATIENCE, QuietPeriod, RateMeter, ceiling, prefetch, round_robin, serves
from actors.model.lane import Lane
from actors.model.worker import WorkerInfo


def test_equal_workers_get_equal_counts() -> None:
    counts = Counter(round_robin([0, 0, 0], [400, 400, 400], 1_000))
    assert sorted(counts.values()) == [333, 333, 334]


def test_the_one_with_fewer_assignments_catches_up_first() -> None:
    assert round_robin([5, 0], [10, 10], 6) == [1, 1, 1, 1, 1, 0]


def test_nobody_gets_more_than_its_room() -> None:
    assert Counter(round_robin([0, 0], [2, 50], 100)) == {0: 2, 1: 50}


def test_nobody_rises_beyond_the_ceiling() -> None:
    assert round_robin([5, 0], [10, 10], 20, 6) == [1, 1, 1, 1, 1, 0, 1]


def test_a_worker_that_is_full_for_a_moment_is_waited_for() -> None:
    assert ceiling([10, 30], [PATIENCE / 2, None]) == 10 + LEAD
    assert ceiling([10, 30], [PATIENCE * 2, None]) is None
    assert ceiling([10, 30], [None, None]) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=8), st.integers(0, 100))
def test_turns_fill_the_room_and_level_the_counts(workers: list[tuple[int, int]], wanted: int) -> None:
    given_before, room = [a for a, _ in workers], [b for _, b in workers]
    counts = Counter(round_robin(given_before, room, wanted))
    assert sum(counts.values()) == min(wanted, sum(room))
    totals = {index: given_before[index] + counts[index] for index in range(len(workers))}
    for index in counts:
        for other in totals:
            if counts[other] < room[other]:  # it still had room: nobody who got something is far ahead of it
                assert totals[index] <= totals[other] + 1


def test_a_lane_needs_handler_queue_and_labels() -> None:
    worker = WorkerInfo(id="w", name="w", slots=1, queues=["images"], labels={"gpu": "1"})
    knows = frozenset({"render"})
    assert serves(worker, knows, Lane(1, "render", "images", {"gpu": "1"}))
    assert not serves(worker, knows, Lane(1, "other", "images", {}))
    assert not serves(worker, knows, Lane(1, "render", "default", {}))
    assert not serves(worker, knows, Lane(1, "render", "images", {"gpu": "2"}))
    assert serves(WorkerInfo(id="w", name="w", slots=1), knows, Lane(1, "render", "anything", {}))


def test_prefetch_follows_a_high_rate_and_is_none_for_long_tasks() -> None:
    meter = RateMeter()
    meter.add(10.0, 1_000)
    assert prefetch(meter.rate(10.1), 20) == 300
    assert meter.rate(11.0) == 0
    assert prefetch(20.0, 20) == 0
    assert prefetch(1e9, 20) == 1_000


def test_nobody_is_convicted_before_the_quiet_period_has_passed() -> None:
    quiet = QuietPeriod(length=9.0)
    assert not quiet.may_convict(0.0)
    for second in range(9):
        quiet.answered(float(second), "server")
        assert not quiet.may_convict(float(second))
    quiet.answered(9.0, "server")
    assert quiet.may_convict(9.5)
    assert not quiet.may_convict(12.0)  # a gap


def test_a_restart_of_the_database_begins_the_quiet_period_anew() -> None:
    quiet = QuietPeriod(length=3.0)
    for second in range(5):
        quiet.answered(float(second), "before")
    assert quiet.may_convict(4.0)
    quiet.answered(5.0, "after")
    assert not quiet.may_convict(5.0)
    quiet.failed()
    quiet.answered(6.0, "after")
    assert not quiet.may_convict(7.0)


@pytest.mark.parametrize("step", [30.0, -30.0])
def test_a_step_of_the_databases_clock_begins_the_quiet_period_anew(step: float) -> None:
    quiet = QuietPeriod(length=3.0)
    for second in range(5):
        quiet.answered(float(second), "server", 1000.0 + second + 0.3 * (second % 2))  # answers come sooner and later
    assert quiet.may_convict(4.0)
    for second in range(5, 8):
        quiet.answered(float(second), "server", 1000.0 + second + step)
        assert not quiet.may_convict(float(second))
    assert quiet.may_convict(8.0)


def test_a_verdict_has_a_latest_time_on_the_databases_clock() -> None:
    quiet = QuietPeriod(length=3.0)
    assert quiet.until(0.0) is None
    quiet.answered(10.0, "server", 1000.0)
    assert quiet.until(10.0) == 1000.0 + quiet.gap
    assert quiet.until(11.5) == 1001.5 + quiet.gap
    quiet.answered(12.0, "server", 1032.0)  # it jumped
    assert quiet.until(12.0) == 1032.0 + quiet.gap


def test_workers_that_serve_the_same_lanes_share_a_claim() -> None:
    class _Link:
        def __init__(self, *handlers: str) -> None:
            self.worker = WorkerInfo(id="w", name="w", slots=1)
            self.handlers = frozenset(handlers)

    a, b, c = _Link("x"), _Link("x", "y"), _Link("x")
    lanes = [Lane(1, "x", "default", {}), Lane(2, "y", "default", {})]
    assert group([a, b, c], lanes) == [([a, c], [1]), ([b], [1, 2])]  # type: ignore[list-item, comparison-overlap]  # stand-ins
