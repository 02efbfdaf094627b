"""Random blows, one after the other, on one system that lives through them all; then the verdict, and the trend."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

from actors.runtime.supervisor import leaves
from tests.support.postgres import Server
from tests.system.bench.account import events
from tests.system.bench.load import Mix
from tests.system.bench.run import Result, Run, forgive, judge, until_final
from tests.system.bench.scenario import CATALOGUE, Scenario, Skipped, nothing
from tests.system.bench.system import Layout, System, open_system

LAYOUT = Layout()
MIX = Mix(tasks=100, pace=8, long=4.0)
DRAIN = 120.0  # seconds until everything is final after the last blow
GROWTH = 20 * 2**20  # bytes that a node may be larger in the last quarter than in the second


def blows() -> list[Scenario]:
    """What may strike a system that goes on: nothing that needs a system of its own kind."""
    return [
        one for one in CATALOGUE.values()
        if one.group in "ABCEF" and one.layout == LAYOUT and one.prepare is nothing and one.after is nothing
        and one.before is nothing and one.missing() is None
        and one.id not in ("P69",)
    ]  # fmt: skip


def at_random(minutes: float, seed: int) -> Iterator[Scenario]:
    """Blow after blow, as long as there is time."""
    chance, end, choices = random.Random(seed), trio.current_time() + 60 * minutes, blows()
    while trio.current_time() < end:
        yield chance.choice(choices)


async def soak(
    server: Server, which: Callable[[], Iterator[Scenario]], seed: int, folder: Path | None = None,
    layout: Layout = LAYOUT,
) -> Result:  # fmt: skip
    """One system, struck by one scenario after the other. Never raises for what it does."""
    whole = Scenario(id="P70", group="F", title="soak", hit=nothing, overlap="any", lossy=True, layout=layout, mix=MIX,
                     faults=1, final_within=DRAIN)  # fmt: skip
    result = Result("P70", "soak", seed, "held")
    async with open_system(server, layout, folder) as system:
        run = Run(system, whole, "soak", seed)
        async with trio.open_nursery() as background:
            background.start_soon(run.sampler.run)
            await run.start()
            run.now("started_t")
            stop = trio.Event()
            run.load.most = 10**9
            async with trio.open_nursery() as loading:  # what is final is looked at when nothing more is submitted
                loading.start_soon(run.load.run, stop)
                count = await _strike(run, which(), random.Random(seed), result)
                run.now("healed_t")
                stop.set()
            try:
                await until_final(system, DRAIN)
                await run.load.read_all()
            except AssertionError as error:
                result.verdict, result.reasons = "violated", [*result.reasons, str(error)]
            await run.finish()
            background.cancel_scope.cancel("the run is over")
        await run.write()
        judge(system.history, result, whole)
        forgive(result, run.sampler.strain)
        result.numbers |= {"blows": count, **trend(system.history, result)}
    return result


async def _strike(run: Run, which: Iterator[Scenario], chance: random.Random, result: Result) -> int:
    """Blow after blow; how many."""
    count = 0
    for count, one in enumerate(which, start=1):
        print(f"  {count:4} {one.id:6} {one.title}", flush=True)
        run.stage.memory.clear()
        run.stage.shape = "once"
        try:
            with trio.fail_after(120):
                await one.hit(run.stage)
                await trio.sleep(one.hold)
                await one.heal(run.stage)
        except Skipped:
            continue
        except Exception as error:  # whatever a blow ends with belongs to the verdict
            result.verdict = "violated"
            why = "; ".join(str(leaf) or type(leaf).__name__ for leaf in leaves(error))
            result.reasons.append(f"{one.id}, blow {count}: {why}")
        await _whole_again(run)
        await trio.sleep(chance.uniform(0.5, 3))
    return count


async def _whole_again(run: Run) -> None:
    """Whatever a blow left behind is over."""
    system: System = run.system
    run.nemesis.thaw()
    system.calm()
    for space in system.spaces.values():
        space.mend()
    if system.server.process is None:
        await trio.to_thread.run_sync(system.server.start)
    await system.start(*(name for name in system.names if not system.alive(name)))


def trend(history: Path, result: Result) -> dict[str, object]:
    """Memory and descriptors of each node: the second quarter against the last one."""
    samples: dict[str, list[dict[str, int]]] = {}
    for one in events(history, "sampler"):
        if one["event"] == "sample" and one["threads"] > 0 and one["children"] >= 0:
            samples.setdefault(f"{one['node']} {one['pid']}", []).append(one)
    found: dict[str, object] = {}
    for name, rows in samples.items():
        if len(rows) < 240:  # it did not live for four minutes
            continue
        quarter = len(rows) // 4
        early, late = rows[quarter : 2 * quarter], rows[-quarter:]
        memory = [statistics.median(row["rss"] for row in part) for part in (early, late)]
        descriptors = [statistics.median(row["fds"] for row in part) for part in (early, late)]
        found[name] = {"rss_mib": [round(one / 2**20, 1) for one in memory], "fds": descriptors}
        if memory[1] - memory[0] > GROWTH or descriptors[1] - descriptors[0] > max(8, descriptors[0] / 5):
            result.verdict = "violated"
            result.reasons.append(f"V16: {name} grows: {found[name]}")
    return {"trend": found}
