"""One run: a world, a load, a scenario, and a verdict. Equal scenario and seed, equal run."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing

from actors.runtime import chance
from tests.simulation.dice import Dice
from tests.simulation.faults import Faults
from tests.simulation.judge import judge
from tests.simulation.order import seeded
from tests.simulation.scenarios import SCENARIOS, Scenario
from tests.simulation.world import Crashes, World

SETTLE = 25.0  # seconds in which nothing may be left in any ledger once everything is final
HARD_LIMIT = 600.0  # virtual seconds after which a run is given up


@dataclass(slots=True)
class Result:
    scenario: str
    seed: int
    violations: list[str] = field(default_factory=list)
    trace: list[tuple[Any, ...]] = field(default_factory=list)
    tasks: int = 0
    executions: int = 0
    faults: int = 0
    virtual: float = 0.0  # seconds
    real: float = 0.0  # seconds

    @property
    def digest(self) -> str:
        """The same for the same run."""
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()[:16]

    @property
    def replay(self) -> str:
        return f"python -m tests.simulation --seed {self.seed} --scenario {self.scenario} -v"


def run(scenario: Scenario | str, seed: int, *, verbose: bool = False) -> Result:
    """Runs one seed to its verdict."""
    chosen = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
    result = Result(chosen.name, seed)
    began = time.perf_counter()
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG if verbose else logging.ERROR)
    try:
        with seeded(seed):
            trio.run(_live, chosen, result, verbose, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        root.setLevel(level)
    result.real = time.perf_counter() - began
    return result


async def _live(scenario: Scenario, result: Result, verbose: bool) -> None:
    dice = Dice(result.seed)
    chance.source.set(dice.stream("actors"))
    handler: Crashes | None = None
    began = trio.current_time()
    try:
        with trio.fail_after(HARD_LIMIT):
            async with trio.open_nursery() as nursery:
                world = World(
                    result.seed, nursery, scenario.mix, scenario.terms,
                    servers=scenario.servers, schedulers=scenario.schedulers, workers=scenario.workers,
                )  # fmt: skip
                world.timeline.verbose = verbose
                handler = Crashes(world)
                logging.getLogger().addHandler(handler)
                await _play(world, scenario)
                facts = world.facts(scenario.expect)
                for node in world.nodes:
                    node.thaw()
                nursery.cancel_scope.cancel("judged")
    finally:
        if handler is not None:
            logging.getLogger().removeHandler(handler)
    result.virtual = trio.current_time() - began
    result.violations = judge(facts)
    result.trace, result.tasks = world.timeline.trace, len(facts.rows)
    result.executions, result.faults = len(world.history.executions), len(world.history.faults)


async def _play(world: World, scenario: Scenario) -> None:
    """The load and the faults side by side; then everything is healthy, and must become final."""
    world.start()
    async with trio.open_nursery() as acts:
        acts.start_soon(world.clients.run)
        acts.start_soon(scenario.script, Faults(world, world.dice.stream("faults")))
    for node in world.nodes:
        node.start()
    if await world.until_final(scenario.expect.final_within):
        await world.until_settled(SETTLE)
