"""The bench's own judgement: what a starved machine excuses, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.bench.__main__ import table
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


def test_the_table_has_a_line_for_each_scenario_and_says_what_failed(tmp_path: Path) -> None:
    def ran(scenario: str, verdict: str, title: str = "A worker is killed", **numbers: float) -> dict[str, object]:
        return {"scenario": scenario, "shape": "once", "verdict": verdict, "title": title, "reasons": ["no root"],
                "numbers": numbers}  # fmt: skip

    found = [
        ran("P01", "held", failovers=3, failover_p50=2.0, failover_max=2.5),
        ran("P01", "violated", failovers=1, failover_p50=3.0, failover_max=9.9),
        ran("P02", "skipped"),
        *(ran(f"P13.{point}", "held", f"At a point: {point}") for point in "abc"),
    ]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(found))
    assert table(file).splitlines()[2:] == [
        "| P01 | A worker is killed | once | 2 | 2.5 s, 9.9 s | 1 held, 1 violated |",
        "| P02 | A worker is killed | once | 0 | – | skipped (no root) |",
        "| P13 | At a point | once | 3 | – | held |",
    ]
