"""Whole systems in one process, hours of trouble in virtual time: no promise is broken, and a run can be repeated."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.run import Result, run
from tests.simulation.scenarios import SCENARIOS

NAMED = sorted(name for name in SCENARIOS if name != "random")
CHUNK = 100  # seeds of one test, so that several processes share the work


def must_hold(results: list[Result]) -> None:
    hashes = os.environ.get("PYTHONHASHSEED", "random")
    broken = [f"{violation}\n    {one.replay}" for one in results for violation in one.violations]
    assert not broken, f"with PYTHONHASHSEED={hashes}:\n" + "\n".join(broken)


@pytest.mark.parametrize("name", NAMED)
def test_a_scenario_keeps_every_promise(name: str) -> None:
    must_hold([run(name, 1)])


@pytest.mark.parametrize("first", [1, 7])
def test_random_faults_break_no_promise(first: int) -> None:
    results = [run("random", seed) for seed in range(first, first + 6)]
    must_hold(results)
    # A run without work or faults would keep every promise.
    assert all(one.tasks >= 30 and one.executions >= 30 for one in results)
    assert sum(one.faults for one in results) >= 10


def test_a_seed_is_a_run() -> None:
    first, second = run("random", 4711), run("random", 4711)
    assert first.trace == second.trace


@pytest.mark.faults
def test_a_seed_is_the_same_run_in_another_process() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "4711"]
    said = {subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1] for _ in range(2)}
    assert len(said) == 1


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMED)
def test_twenty_seeds_of_a_scenario(name: str) -> None:
    must_hold([run(name, seed) for seed in range(1, 21)])


@pytest.mark.faults
@pytest.mark.parametrize("first", range(1000, 3000, CHUNK))
def test_two_thousand_seeds_of_random_faults(first: int) -> None:
    must_hold([run("random", seed) for seed in range(first, first + CHUNK)])
