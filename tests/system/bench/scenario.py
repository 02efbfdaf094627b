"""What a scenario is: a blow, how it heals, in which shapes, and what is expected then."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from tests.system.bench.load import Load, Mix
from tests.system.bench.nemesis import Nemesis
from tests.system.bench.system import Layout, System


class Skipped(Exception):
    """It can't be run here; the message says why."""


@dataclass
class Stage:
    """What a scenario works with. `memory` is its own, from the blow to the end."""

    system: System
    nemesis: Nemesis
    load: Load
    shape: str
    random: random.Random
    memory: dict[str, Any] = field(default_factory=dict)

    async def worker_at_work(self, limit: float = 20.0) -> str:
        """The worker that holds most just now."""
        found: list[str] = []
        with trio.move_on_after(limit):
            while not (found := await self.system.busy_workers()):
                await trio.sleep(0.05)
        assert found, f"no worker had anything to do for {limit:g} s"
        return found[0]


Step = Callable[[Stage], Awaitable[None]]
Need = Callable[[], str | None]  # what is missing here


async def nothing(stage: Stage) -> None:
    """No step."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One entry of the catalogue."""

    id: str
    group: str  # A processes, B network, C PostgreSQL, D clocks, E stopping, F load; M: measurements, run by themselves
    title: str
    hit: Step
    heal: Step = nothing
    after: Step = nothing  # when load and blows are over, before everything must be final
    check: Step = nothing  # when everything is final: what is asserted beyond the judge's invariants
    before: Step = nothing  # before any node is started
    prepare: Step = nothing  # before the load begins
    shapes: tuple[str, ...] = ("once",)  # of: once, permanent, repeated, start
    overlap: str = "0"  # what the judge allows two attempts of one task: 0, cut, reset, pause:SECONDS, any
    no_repeats: bool = False  # no attempt that ran is run again
    lossy: bool = False  # a blow may take several hits to be felt: tasks may be quarantined
    hold: float = 1.5  # seconds from the blow to its healing
    fault_at: float = 2.0  # seconds from the load's beginning
    repeats: int = 3  # blows in the shape `repeated`
    calm: float = 2.0  # seconds between them
    faults: int = 1  # effects that a blow must be seen to have
    final_within: float = 40.0  # seconds from healing until everything is final
    layout: Layout = field(default_factory=Layout)
    mix: Mix = field(default_factory=Mix)
    bound: float = 0.0  # seconds from a blow to a worker to the next start of what it ran; 0: not looked at
    needs: tuple[Need, ...] = ()

    def missing(self) -> str | None:
        return next((reason for need in self.needs if (reason := need())), None)

    def small(self) -> Scenario:
        """The same with fewer nodes and a smaller load, for a run among many."""
        workers = min(2, self.layout.workers)
        return replace(self, layout=replace(self.layout, workers=workers), mix=replace(self.mix, tasks=60, long=2.0))


CATALOGUE: dict[str, Scenario] = {}


def scenario(id: str, title: str, *, group: str, **more: Any) -> Callable[[Step], Step]:
    """Enters the decorated blow into the catalogue."""

    def enter(hit: Step) -> Step:
        assert id not in CATALOGUE, id
        CATALOGUE[id] = Scenario(id=id, group=group, title=title, hit=hit, **more)
        return hit

    return enter


async def play(scenario: Scenario, stage: Stage) -> None:
    """The blow in its shape, healed at the end unless it is permanent."""
    match stage.shape:
        case "permanent":
            await scenario.hit(stage)
        case "repeated":
            for _ in range(scenario.repeats):
                await scenario.hit(stage)
                await trio.sleep(scenario.hold)
                await scenario.heal(stage)
                await trio.sleep(scenario.calm)
        case _:
            await scenario.hit(stage)
            await trio.sleep(scenario.hold)
            await scenario.heal(stage)
