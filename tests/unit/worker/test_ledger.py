"""What runs here and what is unacknowledged, through repeats and reconnects."""

from __future__ import annotations

from actors.model.columns import Assignment, Outcome, Outcomes, Verdict
from actors.model.link import Committed
from actors.model.worker import Held
from actors.worker.ledger import Ledger, split

KEY = b"k" * 16


def an_assignment(*ids: int, epoch: int = 1) -> Assignment:
    count = len(ids)
    return Assignment(
        KEY, list(ids), [1] * count, ["noop"], [0] * count, [0] * count, [0] * count, [2] * count, b"{}" * count, epoch
    )


def outcomes_of(*ids: int, body: bytes = b"null") -> Outcomes:
    count = len(ids)
    return Outcomes(
        [KEY], [0] * count, list(ids), [1] * count, [Outcome.SUCCEEDED] * count, [len(body)] * count, body * count
    )


def test_a_repeated_assignment_does_not_start_twice() -> None:
    ledger = Ledger()
    assert ledger.take(an_assignment(1, 2))
    assert not ledger.take(an_assignment(1, 2))
    assert ledger.running == 2


def test_an_assignment_of_a_superseded_epoch_is_refused() -> None:
    ledger = Ledger()
    ledger.epoch = 3
    assert not ledger.take(an_assignment(1, epoch=2))


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
