"""Who died in the moment of its start leaves no handler behind that fills a slot for ever."""

from __future__ import annotations

from tests.check_history.history import History
from tests.check_history.intervals import Interval
from tests.check_history.overlap import within_slots


def judged(*runs: tuple[int, int, int]) -> int:
    """How many problems these attempts (task, start, end) of one session with one slot are."""
    audit = [
        {"table": "tasks", "key": task, "old_state": "queued", "new_state": "assigned", "attempt": 1, "session": 7}
        for task, _, _ in runs
    ]
    history = History(run={}, files={}, audit=audit, workers=[{"session_id": 7, "slots": 1, "name": "w1"}])
    found = [Interval(task, 1, "w1", start, end, "killed", {"slots": 1}) for task, start, end in runs]
    return len(list(within_slots(history, found)))


def test_a_handler_that_died_at_once_fills_no_slot_afterwards() -> None:
    assert judged((1, 10, 10), (2, 20, 30)) == 0


def test_two_at_once_are_one_too_many() -> None:
    assert judged((1, 10, 25), (2, 20, 30)) == 1
