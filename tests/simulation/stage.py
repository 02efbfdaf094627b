"""What a scenario is, and the words that scenarios are written in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import trio

from actors.model.lease import TEST, LeaseTerms
from tests.simulation.facts import Expect
from tests.simulation.faults import Faults
from tests.simulation.load import Mix
from tests.simulation.nodes import ServerNode, WorkerNode

Script = Callable[[Faults], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    script: Script
    mix: Mix = field(default_factory=Mix)
    servers: int = 2
    schedulers: int = 0
    workers: int = 3
    terms: LeaseTerms = TEST
    expect: Expect = field(default_factory=Expect)


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *, kinds: tuple[tuple[float, str], ...] | None = None, tasks: int | None = None, rate: float | None = None,
    servers: int = 2, schedulers: int = 0, workers: int = 3, terms: LeaseTerms = TEST,
    expect: Expect | None = None,
) -> Callable[[Script], Script]:  # fmt: skip
    def add(script: Script) -> Script:
        name = script.__name__.removesuffix("_")
        mix = Mix()
        if kinds is not None:
            mix = replace(mix, kinds=kinds)
        mix = replace(mix, tasks=tasks or mix.tasks, rate=rate or mix.rate)
        SCENARIOS[name] = Scenario(
            name=name, script=script, mix=mix, servers=servers, schedulers=schedulers, workers=workers,
            expect=expect or Expect(), terms=terms,
        )  # fmt: skip
        return script

    return add


NOTHING_LOST = Expect(repeats=False, crashes=False, overlap=False)
NO_CRASH = Expect(crashes=False)
CLEAN = Expect(crashes=False, closes=True)
NO_OVERLAP = Expect(overlap=False)


# Assignments are taken back long before a silent stream is dropped.
EAGER = replace(TEST, ack_window=0.3, missed=5, lease=4.0)


def a_worker(faults: Faults) -> WorkerNode:
    return faults.dice.pick(faults.world.workers)


def a_coordinator(faults: Faults) -> ServerNode:
    return faults.dice.pick(faults.world.coordinators)


def a_linked_pair(faults: Faults) -> tuple[str, str]:
    """A worker and its coordinator, if any is connected."""
    links = [(one.client, one.server) for one in faults.world.network.connections]
    return faults.dice.pick(links or [(a_worker(faults).host, a_coordinator(faults).host)])


async def soon(faults: Faults, most: float = 4.5) -> None:
    await trio.sleep(faults.dice.uniform(0.5, 0.5 + most))
