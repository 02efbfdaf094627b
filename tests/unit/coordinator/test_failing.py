"""A worker that fails what others can do gets no work for a while; nobody else does."""

from __future__ import annotations

import pytest

from actors.coordinator.failing import FIRST, LEAST, LONGEST, RECOVERED, WINDOW, Failures


def healthy(failures: Failures, now: float, session: int = 2, name: str = "job", count: int = 5) -> None:
    assert failures.add(session, {name: (count, 0)}, now) is None


def fails(failures: Failures, now: float, count: int = LEAST, *, session: int = 1, name: str = "job") -> float | None:
    return failures.add(session, {name: (0, count)}, now)


def test_ten_errors_of_what_succeeds_elsewhere_bench_a_session() -> None:
    failures = Failures()
    healthy(failures, 0.0)
    assert fails(failures, 1.0, LEAST - 1) is None
    assert fails(failures, 2.0, 1) == 2.0 + FIRST
    assert failures.benched_until(1) == 2.0 + FIRST
    assert failures.benched_until(2) < 0


def test_what_succeeds_nowhere_benches_nobody() -> None:
    failures = Failures()
    assert fails(failures, 0.0, 100) is None
    assert fails(failures, 1.0, 100, session=2) is None


def test_success_of_another_handler_elsewhere_proves_nothing() -> None:
    failures = Failures()
    healthy(failures, 0.0, name="other", count=1_000)
    assert fails(failures, 1.0, 100) is None


def test_a_handler_that_fails_nearly_everywhere_benches_nobody() -> None:
    """Otherwise the whole fleet would stand still for it."""
    failures = Failures()
    for session in (1, 2, 3):
        assert failures.add(session, {"job": (1, 19)}, 0.0) is None


def test_one_success_in_five_keeps_a_session_in_work() -> None:
    failures = Failures()
    healthy(failures, 0.0)
    assert failures.add(1, {"job": (3, 12)}, 1.0) is None
    assert failures.add(1, {"job": (0, 15)}, 2.0) == 2.0 + FIRST  # 27 of 30


def test_what_it_does_well_counts_only_where_others_were_seen_to_do_it() -> None:
    """Successes at a handler that only this one has say nothing for or against it."""
    failures = Failures()
    healthy(failures, 0.0)
    assert failures.add(1, {"job": (0, LEAST), "mine": (1_000, 0)}, 1.0) == 1.0 + FIRST


def test_one_handler_that_fails_here_does_not_cost_what_goes_well() -> None:
    """A handler whose every first try fails and every retry elsewhere succeeds would bench one worker after another."""
    failures = Failures()
    healthy(failures, 0.0, name="flaky")
    healthy(failures, 0.0, name="job")
    assert failures.add(1, {"flaky": (0, 2 * LEAST), "job": (20 * LEAST, 0)}, 1.0) is None
    assert failures.add(1, {"flaky": (0, 200 * LEAST)}, 2.0) == 2.0 + FIRST


def test_errors_and_successes_older_than_the_window_are_forgotten() -> None:
    failures = Failures()
    healthy(failures, 0.0)
    assert fails(failures, 1.0, LEAST - 1) is None
    assert fails(failures, 3.0 + WINDOW, 1) is None
    healthy(failures, 4.0 + WINDOW)
    assert fails(failures, 5.0 + WINDOW, 1) is None


def test_each_time_it_is_twice_as_long_up_to_ten_minutes() -> None:
    failures, now, lasted = Failures(), 0.0, []
    for _ in range(6):
        healthy(failures, now)
        until = fails(failures, now)
        assert until is not None
        lasted.append(until - now)
        now = until
    assert lasted == pytest.approx([30, 60, 120, 240, 480, LONGEST])


def test_errors_that_arrive_while_it_is_benched_do_not_lengthen_it() -> None:
    failures = Failures()
    healthy(failures, 0.0)
    until = fails(failures, 0.0)
    assert until is not None
    assert fails(failures, 1.0, 50) is None
    assert failures.benched_until(1) == until


def test_who_has_recovered_begins_at_the_first_step_again() -> None:
    failures = Failures()
    healthy(failures, 0.0)
    until = fails(failures, 0.0)
    assert until is not None
    healthy(failures, until, session=1, count=RECOVERED)
    healthy(failures, until + WINDOW)
    later = until + WINDOW + 2
    assert fails(failures, later, 9 * RECOVERED) == later + FIRST


def test_the_records_of_sessions_that_are_gone_do_not_pile_up() -> None:
    failures = Failures()
    for session in range(1_000):
        healthy(failures, session * 10.0, session=session)
    assert len(failures._records) <= LONGEST / 10 + 2
