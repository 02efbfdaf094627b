"""The catalogue of faults, against real processes. `make test` runs a sample on one system, `make test-faults` all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from tests.support.postgres import Server, open_server
from tests.system.bench.run import Result, run
from tests.system.bench.scenario import CATALOGUE, Scenario
from tests.system.bench.soak import at_random, soak
from tests.system.bench.system import Layout
from tests.system.scenarios import all as _all  # noqa: F401 (fills the catalogue)

SAMPLE = ("P01", "P02", "P18", "P31", "P19")
EVERY = [(one.id, shape) for one in CATALOGUE.values() if one.group != "M" for shape in one.shapes]


def expect_held(result: Result) -> None:
    if result.verdict == "skipped" or result.starved:
        pytest.skip("; ".join(result.reasons))
    assert result.verdict == "held", result.line()


def sample() -> Iterator[Scenario]:
    for name in SAMPLE:
        yield replace(CATALOGUE[name], hold=0.3)


async def test_a_system_survives_one_blow_after_the_other() -> None:
    with open_server() as server:
        result = await soak(server, sample, seed=1, layout=Layout(workers=2))
    assert result.numbers["blows"] == len(SAMPLE)
    expect_held(result)


def test_every_scenario_says_what_it_is_and_fits_a_shape() -> None:
    assert set("ABCDEFM") == {one.group for one in CATALOGUE.values()}
    for one in CATALOGUE.values():
        assert one.title
        assert set(one.shapes) <= {"once", "permanent", "repeated", "start"}, one.id
        assert one.layout.terms.violations() == [], one.id


@pytest.mark.faults
@pytest.mark.parametrize(("name", "shape"), EVERY)
async def test_a_scenario_holds(name: str, shape: str, fresh_server: Server) -> None:
    result = await run(CATALOGUE[name], shape, random.SystemRandom().randint(1, 10**6), fresh_server)
    expect_held(result)


@pytest.mark.soak
async def test_a_system_survives_five_minutes_of_random_blows(fresh_server: Server) -> None:
    seed = random.SystemRandom().randint(1, 10**6)
    expect_held(await soak(fresh_server, partial(at_random, 5, seed), seed))


@pytest.fixture
def fresh_server() -> Iterator[Server]:
    with open_server() as server:
        yield server
