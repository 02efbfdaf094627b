"""Named scenarios, and `random`, which mixes all of them. Each runs beside the load and ends with its last fault."""

from __future__ import annotations

from functools import partial

import trio

from actors.model.lease import TEST
from tests.simulation.anything import random_fault
from tests.simulation.database import HOST
from tests.simulation.faults import Faults
from tests.simulation.load import ALL_KINDS, CALM, LASTING
from tests.simulation.stage import (
    CLEAN,
    EAGER,
    NO_CRASH,
    NO_OVERLAP,
    NOTHING_LOST,
    SCENARIOS,
    Scenario,
    a_coordinator,
    a_linked_pair,
    a_worker,
    scenario,
    soon,
)

__all__ = ["SCENARIOS", "Scenario"]


@scenario(expect=NOTHING_LOST)
async def no_fault(faults: Faults) -> None:
    """The frame itself: nothing happens."""


# --- workers ----------------------------------------------------------------------------------------


@scenario(expect=NO_OVERLAP)
async def worker_crash(faults: Faults) -> None:
    for _ in range(faults.dice.number(1, 3)):
        await soon(faults)
        await faults.crash(a_worker(faults), faults.dice.uniform(0.1, 2.0))


@scenario(kinds=LASTING, tasks=30, expect=NO_OVERLAP)
async def worker_power_loss(faults: Faults) -> None:
    await soon(faults)
    await faults.crash(a_worker(faults), faults.dice.uniform(0.5, 6.0), silent=True)


@scenario(expect=NO_OVERLAP)
async def worker_crash_anywhere(faults: Faults) -> None:
    for _ in range(3):
        await faults.crash_at(a_worker(faults), faults.dice.number(1, 60), faults.dice.uniform(0.1, 1.5), 4.0)


@scenario(kinds=LASTING, tasks=30)
async def worker_freeze(faults: Faults) -> None:
    """The node stands still; its executors keep the deadline by themselves."""
    await soon(faults)
    await faults.freeze(a_worker(faults), faults.dice.uniform(0.5, 8.0), whole=faults.dice.happens(0.5))


@scenario()
async def executor_trouble(faults: Faults) -> None:
    for _ in range(4):
        await soon(faults, 1.0)
        if faults.dice.happens(0.5):
            await faults.kill_executor(a_worker(faults))
        else:
            await faults.block_executor(a_worker(faults), faults.dice.uniform(0.5, 5.0))


@scenario(kinds=(*CALM, (6, "obstinate")), expect=CLEAN)
async def drain_under_load(faults: Faults) -> None:
    await soon(faults)
    await faults.drain_worker(a_worker(faults))
    await faults.restart(a_worker(faults), 0.2)


@scenario(kinds=(*CALM, (6, "obstinate")), expect=NO_CRASH)
async def rolling_restart(faults: Faults) -> None:
    """Every node in turn, stopped as SIGTERM stops it."""
    await soon(faults, 1.0)
    for node in faults.world.nodes:
        await faults.restart(node, faults.dice.uniform(0.05, 0.5))


# --- coordinators -----------------------------------------------------------------------------------


@scenario(kinds=CALM, expect=NO_CRASH)
async def coordinator_crash(faults: Faults) -> None:
    """Workers resume elsewhere with what they run: nobody is convicted."""
    await soon(faults)
    await faults.crash(a_coordinator(faults), faults.dice.uniform(0.1, 4.0))


@scenario()
async def coordinator_crash_anywhere(faults: Faults) -> None:
    for _ in range(3):
        await faults.crash_at(a_coordinator(faults), faults.dice.number(1, 120), faults.dice.uniform(0.1, 1.5), 4.0)


@scenario(kinds=LASTING, tasks=30, servers=3)
async def coordinator_freeze_and_zombie(faults: Faults) -> None:
    """It wakes up, and believes that its workers are still its own."""
    await soon(faults)
    await faults.freeze(a_coordinator(faults), faults.dice.uniform(1.0, 8.0))


@scenario(servers=1, workers=2)
async def lone_coordinator(faults: Faults) -> None:
    """Nobody else is there while it is away."""
    await soon(faults)
    if faults.dice.happens(0.5):
        await faults.crash(a_coordinator(faults), faults.dice.uniform(0.5, 5.0), silent=faults.dice.happens(0.5))
    else:
        await faults.freeze(a_coordinator(faults), faults.dice.uniform(0.5, 5.0))


@scenario(servers=2, schedulers=1)
async def everything_crashes(faults: Faults) -> None:
    """All nodes at once, and the database with them."""
    await soon(faults)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faults.outage, faults.dice.uniform(0.1, 2.0))
        for node in faults.world.nodes:
            nursery.start_soon(faults.crash, node, faults.dice.uniform(0.1, 3.0))


# --- the network ------------------------------------------------------------------------------------


@scenario(kinds=LASTING, tasks=30)
async def split_network(faults: Faults) -> None:
    """Some nodes are on the other side, with or without the database."""
    await soon(faults)
    hosts = [node.host for node in faults.world.nodes] + [HOST]
    side = faults.dice.some(hosts, faults.dice.number(1, len(hosts) // 2))
    await faults.split(side, faults.dice.uniform(0.5, 7.0))


@scenario(kinds=LASTING, tasks=30)
async def one_way_cut(faults: Faults) -> None:
    await soon(faults)
    worker, server = a_worker(faults).host, a_coordinator(faults).host
    way = faults.dice.pick([(worker, server), (server, worker), (server, HOST), (HOST, server)])
    await faults.cut([way], faults.dice.uniform(0.5, 7.0), kind="one way")


@scenario(kinds=LASTING, tasks=30)
async def worker_cut_off(faults: Faults) -> None:
    """One worker, from everybody, one way or both."""
    await soon(faults)
    way = faults.dice.pick(["both", "in", "out"])
    await faults.split([a_worker(faults).host], faults.dice.uniform(0.5, 7.0), way=way)


@scenario(kinds=LASTING, tasks=30)
async def connection_resets(faults: Faults) -> None:
    for _ in range(8):
        await trio.sleep(faults.dice.uniform(0.1, 0.8))
        await faults.reset(a_worker(faults).host, a_coordinator(faults).host)


@scenario(kinds=LASTING, tasks=60, rate=8.0, workers=2, terms=EAGER)
async def brief_cuts(faults: Faults) -> None:
    """Acceptances come too late for the acknowledgement window, and what the sweep then says is sometimes lost."""
    await trio.sleep(EAGER.quiet_period)  # until then nobody judges
    async with trio.open_nursery() as nursery:
        if faults.dice.happens(0.5):
            nursery.start_soon(lose_some_sweeps, faults)
        for _ in range(5):
            await trio.sleep(faults.dice.uniform(0.1, 0.4))
            pair = await faults.cut_after_assignment(faults.dice.uniform(0.6, 1.5))
            if pair is not None and faults.dice.happens(0.5):
                await faults.reset(*pair)


@scenario(kinds=((70, "exclusive"), (30, "short")), tasks=30)
async def exclusive_unacknowledged(faults: Faults) -> None:
    """The stream is given up before anybody knows that the worker has what it was given."""
    await trio.sleep(TEST.quiet_period)
    await faults.cut_after_assignment(faults.dice.uniform(1.3, 5.0))


async def lose_some_sweeps(faults: Faults) -> None:
    """The answer of one, and what the repeat says is that there was nothing to do."""
    for _ in range(8):
        await faults.trouble(0.8, names=("sweep",), lose_answer=0.8, most=1)


@scenario(kinds=LASTING, tasks=30)
async def torn_connections(faults: Faults) -> None:
    """Closed sockets, and no way back: the grace decides, but not over what is exclusive."""
    for _ in range(2):
        await soon(faults, 1.0)
        await faults.tear(*a_linked_pair(faults), faults.dice.uniform(0.5, 4.0))


@scenario(kinds=LASTING, tasks=30)
async def frozen_without_alternative(faults: Faults) -> None:
    """The coordinator of a worker has lost the database, and the worker reaches no other."""
    await soon(faults)
    worker, server = a_linked_pair(faults)
    others = [one.host for one in faults.world.coordinators if one.host != server]
    ways = [(server, HOST), (HOST, server), *((worker, other) for other in others)]
    await faults.cut(ways, faults.dice.uniform(4.0, 8.0))


@scenario()
async def duplicate_messages(faults: Faults) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faults.repeat_messages, 6.0, 0.4)
        await trio.sleep(2.0)
        await faults.reset(a_worker(faults).host, a_coordinator(faults).host)


@scenario(expect=NO_CRASH)
async def slow_network(faults: Faults) -> None:
    await faults.slow_network(6.0, faults.dice.uniform(0.02, 0.25))


@scenario(kinds=CALM, expect=NOTHING_LOST)
async def lost_hints(faults: Faults) -> None:
    """Polling alone satisfies every promise."""
    await faults.lose_hints(8.0)


# --- the database -----------------------------------------------------------------------------------


@scenario(kinds=CALM, expect=NO_CRASH)
async def database_restart(faults: Faults) -> None:
    for _ in range(faults.dice.number(1, 3)):
        await soon(faults, 1.5)
        await faults.outage(faults.dice.uniform(0.05, 4.0))


@scenario()
async def database_lost_answers(faults: Faults) -> None:
    await faults.trouble(6.0, lose_answer=faults.dice.uniform(0.05, 0.4))


@scenario()
async def database_lost_questions(faults: Faults) -> None:
    await faults.trouble(6.0, lose_question=faults.dice.uniform(0.05, 0.4))


@scenario()
async def database_slow(faults: Faults) -> None:
    await faults.trouble(6.0, slow=faults.dice.uniform(0.1, 1.5))


@scenario(kinds=CALM, expect=NO_CRASH)
async def database_refuses(faults: Faults) -> None:
    """As with a full disk: reads are answered, writes are refused."""
    await soon(faults, 1.5)
    await faults.trouble(faults.dice.uniform(0.5, 5.0), refuse=faults.dice.pick([0.5, 1.0]))


@scenario(kinds=CALM)
async def database_locked(faults: Faults) -> None:
    await soon(faults, 1.5)
    await faults.lock(faults.dice.uniform(0.5, 5.0))


@scenario(kinds=LASTING, tasks=30)
async def coordinator_without_database(faults: Faults) -> None:
    """One coordinator is cut off from it, and the others are not."""
    await soon(faults)
    host = a_coordinator(faults).host
    ways = faults.dice.pick([[(host, HOST), (HOST, host)], [(host, HOST)], [(HOST, host)]])
    await faults.cut(ways, faults.dice.uniform(0.5, 7.0))


@scenario(kinds=LASTING, tasks=30)
async def clock_step_back(faults: Faults) -> None:
    """Whoever dies then is still found out: leases that lie impossibly far ahead are clamped."""
    await soon(faults)
    async with trio.open_nursery() as nursery:
        for_good = faults.dice.happens(0.5)
        by = faults.dice.uniform(15.0, 25.0) if for_good else faults.dice.uniform(0.5, 30.0)
        nursery.start_soon(partial(faults.step_clock, -by, faults.dice.uniform(1.0, 4.0), back=not for_good))
        await trio.sleep(faults.dice.uniform(0.0, 0.5))
        await faults.crash(a_worker(faults), faults.dice.uniform(0.5, 2.0), silent=True)


@scenario(kinds=LASTING, tasks=30)
async def clock_step_forward(faults: Faults) -> None:
    await trio.sleep(TEST.quiet_period + faults.dice.uniform(0.0, 2.0))  # until then nobody judges
    await faults.step_clock(faults.dice.uniform(0.5, 30.0), faults.dice.uniform(1.0, 4.0))


# --- tasks and people -------------------------------------------------------------------------------


@scenario(kinds=((40, "cancelled"), (20, "cancelled at once"), (10, "stubborn"), (20, "short"), (10, "later")))
async def cancel_races(faults: Faults) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faults.trouble, 5.0)
        await soon(faults, 1.0)
        await random_fault(faults)


@scenario(kinds=((4, "poison"), (4, "kills once"), (60, "short"), (20, "medium")), tasks=30)
async def poison_task(faults: Faults) -> None:
    """It kills executor after executor, and its neighbours end well."""


@scenario(kinds=((60, "exclusive"), (40, "short")), tasks=25)
async def exclusive(faults: Faults) -> None:
    for _ in range(2):
        await soon(faults, 1.0)
        await random_fault(faults)


@scenario(kinds=((20, "alone"), (60, "short"), (10, "kills once"), (10, "medium")), tasks=30)
async def solo(faults: Faults) -> None:
    await soon(faults, 1.0)
    await random_fault(faults)


@scenario(kinds=((100, "short"),), tasks=120, rate=400.0)
async def flood(faults: Faults) -> None:
    await trio.sleep(0.2)
    await random_fault(faults)


@scenario(kinds=CALM, expect=NO_CRASH)
async def operators(faults: Faults) -> None:
    await soon(faults, 1.0)
    await faults.pause_worker(a_worker(faults), faults.dice.uniform(0.5, 2.0))
    await faults.drain_worker(a_worker(faults))


# --- anything ---------------------------------------------------------------------------------------


@scenario(kinds=ALL_KINDS)
async def random_(faults: Faults) -> None:
    """Any faults, at any time, also at once."""

    async def one() -> None:
        await soon(faults, 5.0)
        await random_fault(faults)

    async with trio.open_nursery() as nursery:
        for _ in range(faults.dice.number(1, 5)):
            nursery.start_soon(one)
