"""What runs here and what is unacknowledged, through repeats and reconnects."""

from __future__ import annotations

import pytest

from actors.model.columns import EXCLUSIVE, Verdict
from actors.model.link import Committed
from actors.model.worker import Held
from actors.worker.ledger import BYTES, LIMIT, MANY, Ledger, split
from tests.support.worker import KEY, an_assignment, outcomes_of


@pytest.mark.bad_input("GR28")
def test_a_repeated_assignment_does_not_start_twice() -> None:
    ledger = Ledger()
    first = an_assignment(1, 2)
    assert ledger.take(first).start is first
    again = ledger.take(an_assignment(1, 2))
    assert (again.start, again.refuse) == (None, None)
    assert ledger.running == 2


def test_a_repeat_does_not_start_when_its_tasks_have_ended() -> None:
    ledger = Ledger()
    ledger.take(an_assignment(1, 2))
    [report] = ledger.finish(outcomes_of(1, 2))
    ledger.settle(Committed(report.sequence, [Verdict.ACCEPTED] * 2))
    again = ledger.take(an_assignment(1, 2))
    assert (again.start, again.refuse) == (None, None)


def test_a_claim_in_parts_starts_whole() -> None:
    ledger = Ledger()
    ledger.take(an_assignment(1, 2))
    second = ledger.take(an_assignment(2, 3, 4)).start
    assert second is not None
    assert second.ids == [3, 4]
    assert ledger.running == 4


@pytest.mark.bad_input("GR28")
def test_an_assignment_of_a_superseded_epoch_is_refused() -> None:
    ledger = Ledger()
    ledger.epoch = 3
    taken = ledger.take(an_assignment(1, epoch=2))
    assert taken.start is None
    assert taken.refuse is not None
    assert "epoch 2 is over" in taken.why


def test_a_task_does_not_start_while_an_earlier_attempt_of_it_runs_here() -> None:
    ledger = Ledger()
    ledger.take(an_assignment(1, 2))
    taken = ledger.take(an_assignment(2, 3, attempt=2, key=b"n" * 16))
    assert taken.start is not None
    assert taken.refuse is not None
    assert (taken.start.ids, taken.refuse.ids) == ([3], [2])
    assert ledger.holds(2) == Held(2, 1, KEY)


def test_exclusive_attempts_are_known_while_they_run() -> None:
    ledger = Ledger()
    ledger.take(an_assignment(1, 2, flags=EXCLUSIVE))
    ledger.finish(outcomes_of(2))
    assert ledger.exclusive_ids() == [1]


def test_starts_are_told_again_only_of_what_still_runs() -> None:
    ledger = Ledger()
    ledger.take(an_assignment(1, 2))
    assert ledger.begin([Held(1, 1, KEY), Held(2, 1, KEY), Held(3, 1, KEY)]) == [Held(1, 1, KEY), Held(2, 1, KEY)]
    ledger.finish(outcomes_of(1))
    assert ledger.begun() == [Held(2, 1, KEY)]


@pytest.mark.parametrize(
    ("count", "size", "age", "full"),
    [
        (MANY, 4, 60.0, False),
        (MANY + 11, 4, 0.5, False),  # on their way to a commit: no backlog
        (MANY + 11, 4, 1.5, True),
        (LIMIT + 1, 4, 0.0, True),
        (300, 1 + BYTES // 300, 0.0, True),
    ],
)
def test_too_much_unacknowledged_takes_nothing_new(count: int, size: int, age: float, full: bool) -> None:
    ledger = Ledger()
    ledger.finish(outcomes_of(*range(count), body=b"1" * size), 100.0)
    assert ledger.is_full(10, 100.0 + age) is full


def test_an_outcome_is_kept_until_it_is_committed() -> None:
    ledger = Ledger()
    ledger.take(an_assignment(1, 2, 3))
    [report] = ledger.finish(outcomes_of(1, 2))
    assert ledger.running == 1
    assert ledger.unacknowledged == 2
    assert set(ledger.attempts()) == {Held(1, 1, KEY), Held(2, 1, KEY), Held(3, 1, KEY)}
    assert ledger.settle(Committed(report.sequence, [Verdict.ACCEPTED, Verdict.FENCED])) == 1
    assert ledger.unacknowledged == 0
    assert ledger.settle(Committed(report.sequence, [Verdict.FENCED])) == 0


def test_large_outcomes_travel_in_several_reports() -> None:
    whole = outcomes_of(1, 2, 3, 4, 5, body=b'"' + b"x" * 98 + b'"')
    parts = split(whole, 250)
    assert [part.ids for part in parts] == [[1, 2], [3, 4], [5]]
    assert b"".join(part.bodies for part in parts) == whole.bodies
    assert [text for part in parts for text in part.texts()] == whole.texts()


def test_an_outcome_above_the_limit_is_a_report_of_its_own() -> None:
    sizes = [0, 300, 2, 2, 251, 0]
    whole = outcomes_of(1, 2, 3, 4, 5, 6)
    whole.sizes, whole.bodies = sizes, b"".join(bytes([65 + at]) * size for at, size in enumerate(sizes))
    parts = split(whole, 250)
    assert [part.ids for part in parts] == [[1], [2], [3, 4], [5], [6]]
    assert [part.bodies for part in parts] == [b"", b"B" * 300, b"CCDD", b"E" * 251, b""]
    assert [text for part in parts for text in part.texts()] == whole.texts()
