"""V9, shares: who is passed over for seconds is noticed; a burst that one executor slept through is not a violation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.check_history.fairness import SPAN, WINDOW, shared_out
from tests.check_history.history import SECOND, History

SESSIONS = 3


def history(whose: Callable[[int], int], pace: float, slots: tuple[int, ...] = (4, 4, 4)) -> History:
    """One coordinator gives out four windows of tasks, so many a second."""
    count = 4 * WINDOW
    audit = [
        {"table": "tasks", "key": task, "attempt": 1, "old_state": "queued", "new_state": "assigned",
         "session": whose(task), "at": 100 + task / pace}
        for task in range(count)
    ]  # fmt: skip
    claims = [{"event": "claim", "proc": "c1", "t": task * SECOND, "tasks": [[task, 1]]} for task in range(count)]
    workers = [
        {"session_id": number + 1, "name": f"w{number + 1}", "slots": slots[number], "connected_at": 90}
        for number in range(SESSIONS)
    ]  # fmt: skip
    return History({}, {"c1.1.1": claims}, audit=audit, workers=workers)


def in_turn(task: int) -> int:
    return 1 + task % SESSIONS


def one_gets_most(task: int) -> int:
    return 1 if task % 10 else in_turn(task)


def one_gets_none(task: int) -> int:
    return 1 + task % 2


def each_a_burst(task: int) -> int:
    return 1 + task // 100 % SESSIONS


@pytest.mark.parametrize("whose", [one_gets_most, one_gets_none])
def test_who_is_passed_over_is_noticed(whose: Callable[[int], int]) -> None:
    problems = list(shared_out(history(whose, pace=WINDOW / SPAN / 2)))
    assert problems
    assert {problem.about for problem in problems} == {"V9"}


@pytest.mark.parametrize(
    ("whose", "pace"), [(in_turn, 20.0), (in_turn, 5_000.0), (each_a_burst, 400.0), (one_gets_most, 50_000.0)]
)
def test_turns_and_bursts_are_no_violation(whose: Callable[[int], int], pace: float) -> None:
    assert list(shared_out(history(whose, pace))) == []


def test_a_share_may_be_that_of_the_slots() -> None:
    assert list(shared_out(history(lambda task: (1, 2, 2, 3, 3, 3, 3, 3, 3, 3)[task % 10], 20.0, (1, 2, 7)))) == []
