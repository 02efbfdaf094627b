"""What an executor holds, and how each attempt ends when the executor has to go."""

from __future__ import annotations

import json

import pytest

from actors.model.columns import Outcome
from actors.model.worker import Held
from actors.worker.books import Books, is_sound
from actors.worker.death import Backoff, Death, after_crash, after_kill
from callboard.executor.frames import Done
from tests.support.worker import KEY, an_assignment, kinds

SEGFAULT = Death(77, -11)


def books_with(*ids: int, slots: int = 2, timeout: int = 0) -> Books:
    books = Books(slots)
    books.give(an_assignment(*ids, timeout=timeout), 10.0)
    return books


def test_outcomes_of_unknown_attempts_are_left_out() -> None:
    books = books_with(1, 2)
    frame = Done(KEY, [1, 9, 2], [1, 1, 1], [0, 0, 0], [1, 2, 3], b"122333")
    known = books.done(frame)
    assert known is not None
    assert (known.ids, known.sizes, known.bodies) == ([1, 2], [1, 3], b"1333")
    assert not books.held
    assert books.done(Done(KEY, [9], [1], [0], [1], b"1")) is None


def test_a_crash_hits_what_may_have_run_and_releases_what_was_queued() -> None:
    books = books_with(1, 2, 3, 4)
    assert books.begin([2], 10.1) == [Held(2, 1, KEY)]
    assert books.surely_queued(None) == [3, 4]
    outcomes = after_crash(books, SEGFAULT, lease_over=False)
    assert kinds(outcomes) == {
        1: Outcome.CRASHED, 2: Outcome.CRASHED, 3: Outcome.RELEASED, 4: Outcome.RELEASED,
    }  # fmt: skip
    body = json.loads(outcomes.texts()[0])
    assert body["type"] == "ExecutorCrashed"
    assert body["evidence"] == {"pid": 77, "signal": "SIGSEGV"}
    assert not books.held


def test_a_crash_hits_what_had_started_by_the_executors_own_count() -> None:
    books = books_with(1, 2, 3, 4)
    books.give(an_assignment(5, 6, key=b"n" * 16), 11.0)
    books.done(Done(KEY, [1, 3], [1, 1], [0, 0], [1, 1], b"11"))
    assert books.surely_queued(5) == [6]
    outcomes = after_crash(books, Death(77, -11, begun=5), lease_over=False)
    assert kinds(outcomes) == {
        2: Outcome.CRASHED, 4: Outcome.CRASHED, 5: Outcome.CRASHED, 6: Outcome.RELEASED,
    }  # fmt: skip
    books.give(an_assignment(7, 8), 12.0)
    assert books.surely_queued(1) == [8]


def test_after_the_end_of_the_lease_nobody_crashed() -> None:
    books = books_with(1, 2)
    outcomes = after_crash(books, Death(77, -14), lease_over=True)
    assert set(outcomes.kinds) == {Outcome.RELEASED}
    assert json.loads(outcomes.texts()[0])["evidence"]["signal"] == "SIGALRM"


def test_a_cancelled_attempt_that_dies_is_cancelled_not_crashed() -> None:
    books = books_with(1, 2)
    books.wish([1], "cancelled", 20.0)
    books.wish([2], "drain", 20.0)
    assert kinds(after_crash(books, SEGFAULT, lease_over=False)) == {1: Outcome.CANCELLED, 2: Outcome.RELEASED}


def test_an_attempt_is_overdue_after_its_timeout_and_the_grace() -> None:
    books = books_with(1, 2, timeout=2000)
    books.begin([1], 100.0)
    assert books.next_due(5.0) == 107.0
    assert books.overdue(106.9, 5.0) == {}
    assert books.overdue(107.0, 5.0) == {1: Outcome.TIMED_OUT}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("cancelled", Outcome.CANCELLED), ("lease", Outcome.RELEASED), ("drain", Outcome.RELEASED)],
)
def test_a_wish_that_is_not_met_in_time_ends_by_its_reason(reason: str, kind: Outcome) -> None:
    books = books_with(1, 2, 3)
    assert books.wish([1, 9], reason, 15.0) == [1]
    assert books.wish([1], "cancelled", 14.0) == []
    late = books.overdue(14.0, 5.0)
    assert late == {1: kind}
    outcomes = after_kill(books, late, Death(77, -9, "was killed"))
    assert kinds(outcomes) == {1: kind, 2: Outcome.RELEASED, 3: Outcome.RELEASED}
    assert json.loads(outcomes.texts()[1])["message"] == "a neighbour had to be killed"


def test_frames_whose_columns_do_not_fit_are_no_frames() -> None:
    assert is_sound(Done(KEY, [1], [1], [0], [2], b"{}"))
    assert is_sound(Done(KEY, [1], [1], [0], [4], '"ä"'.encode()))
    assert not is_sound(Done(KEY, [1], [1], [0], [3], b"{}"))
    assert not is_sound(Done(KEY, [1, 2], [1], [0], [2], b"{}"))
    assert not is_sound(Done(KEY, [1], [1], [9], [2], b"{}"))
    assert not is_sound(Done(KEY, [1], [1], [0], [3], b'"\xff"'))
    assert not is_sound(Done(b"short", [1], [1], [0], [2], b"{}"))


def test_a_first_crash_costs_no_delay_and_repeated_ones_more_each_time() -> None:
    backoff = Backoff()
    assert backoff.after(0.0) == 0.0
    assert 0.25 <= backoff.after(1.0) <= 0.5
    assert 0.5 <= backoff.after(2.0) <= 1.0
    for at in range(3, 20):
        assert backoff.after(float(at)) <= 30.0
    assert backoff.after(200.0) == 0.0
