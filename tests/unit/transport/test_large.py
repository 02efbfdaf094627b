"""Payloads above the limit leave their assignment, and come back into it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.model.columns import EXCLUSIVE, Outcome, Outcomes
from actors.model.link import Report
from tests.unit.transport.test_codec import KEY, an_assignment
from transport.large import FETCH, cut_large, fill_large, is_large, result_from_wire, result_to_wire, to_fetch


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=30), st.integers(0, 30))
def test_cutting_and_filling_give_the_assignment_again(payloads: list[bytes], limit: int) -> None:
    whole = an_assignment(payloads)
    whole.flags = [flags & ~FETCH for flags in whole.flags]
    part, kept = cut_large(whole, limit)
    assert sorted(map(len, kept.values())) == sorted(len(one) for one in payloads if len(one) > limit)
    assert set(to_fetch(part)) == set(kept)
    assert max(part.sizes) <= limit
    assert fill_large(part, kept) == whole


def test_other_flags_stay() -> None:
    whole = an_assignment([b"x" * 100])
    whole.flags = [EXCLUSIVE]
    part, kept = cut_large(whole, 10)
    assert part.flags == [EXCLUSIVE | FETCH]
    assert fill_large(part, kept).flags == [EXCLUSIVE]


def test_a_large_outcome_arrives_as_the_report_it_was() -> None:
    report = Report(7, Outcomes([b"q" * 16, KEY], [1], [3], [2], [Outcome.FAILED], [200_000], b"x" * 200_000))
    assert is_large(report)
    got = result_from_wire(result_to_wire(report, 1, b"s"))
    assert got == Report(7, Outcomes([KEY], [0], [3], [2], [Outcome.FAILED], [200_000], b"x" * 200_000))
