"""The bench's own judgement: what a starved machine excuses, and what it does not."""

from __future__ import annotations

import pytest

from tests.system.bench.run import STRAIN, Result, forgive


@pytest.mark.parametrize(
    ("reasons", "strain", "verdict"),
    [
        (["V12: 3 sessions were convicted"], STRAIN + 0.1, "inconclusive"),
        (["V12: 3 sessions were convicted"], STRAIN - 0.1, "violated"),
        (["V12: 3 sessions were convicted", "V2: 1 tasks entered a final state more than once"], 0.9, "violated"),
        (["V12: 0.5 s of two attempts at once: [1]"], 0.9, "violated"),
        (["V1: acknowledged and lost: [1]"], 0.9, "violated"),
    ],
)
def test_a_starved_machine_excuses_lateness_and_nothing_else(reasons: list[str], strain: float, verdict: str) -> None:
    result = Result("P01", "once", 1, "violated", reasons)
    forgive(result, strain)
    assert result.verdict == verdict
    assert result.starved == (verdict == "inconclusive")
    assert result.numbers["strain"] == pytest.approx(strain)


def test_what_held_is_not_touched() -> None:
    result = Result("P01", "once", 1, "held")
    forgive(result, 0.9)
    assert (result.verdict, result.reasons) == ("held", [])
