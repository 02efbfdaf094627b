"""Group D: wall clocks are wrong, and jump."""

from __future__ import annotations

import signal
import tempfile
from functools import partial
from pathlib import Path

import trio

from tests.system.bench import clocks
from tests.system.bench.clocks import Clock
from tests.system.bench.scenario import Stage, scenario
from tests.system.scenarios.processes import nobody_was_convicted

HOUR, DAY = 3600.0, 86_400.0
enter = partial(scenario, group="D", needs=(clocks.missing,), no_repeats=True, check=nobody_was_convicted)


async def skewed(stage: Stage, *names: str) -> None:
    """These nodes get a clock of their own."""
    for name in names:
        stage.memory[name] = clock = Clock(stage.system.folder, name)
        stage.system.environ[name] = clock.environ


async def jump(stage: Stage, *names: str, seconds: float) -> None:
    for name in names:
        fault = stage.nemesis.on("other", name)
        stage.memory[name].set(seconds)
        stage.nemesis.took(fault, f"its clock is {seconds:+g} s")


async def right(stage: Stage) -> None:
    for name, clock in stage.memory.items():
        if isinstance(clock, Clock):
            clock.set(0)
            stage.nemesis.off(name)


def wrong(id: str, title: str, *names: str) -> None:
    async def before(stage: Stage) -> None:
        await skewed(stage, *names)

    async def hit(stage: Stage) -> None:
        for seconds in (HOUR, -HOUR, DAY, -DAY, 0.7, -0.7):
            await jump(stage, *names, seconds=seconds)
            await trio.sleep(1.5)

    enter(id, title, before=before, heal=right, faults=6 * len(names), shapes=("once",))(hit)


wrong("P45", "The clocks of workers are wrong by an hour and by a day, and jump", "w1", "w2")
wrong("P46", "The clocks of a coordinator and of the front are wrong by an hour and by a day, and jump", "c1", "front")


async def database_with_a_clock(stage: Stage) -> None:
    folder = Path(tempfile.mkdtemp(prefix="cb-clock-"))
    folder.chmod(0o755)
    stage.memory["postgres"] = clock = Clock(folder, "postgres")
    stage.system.server.environ = clock.environ
    await trio.to_thread.run_sync(stage.system.server.restart, signal.SIGINT)


@enter("P47", "The database's clock jumps ahead by 30 seconds, and back", before=database_with_a_clock, heal=right,
       hold=3.0, fault_at=10.0, final_within=60.0, lossy=True)  # fmt: skip
async def p47(stage: Stage) -> None:
    fault = stage.nemesis.on("other", "postgres")
    before = await stage.system.scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
    stage.memory["postgres"].set(30.0)
    await trio.sleep(0.3)
    after = await stage.system.scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
    assert after - before > 29, "the clock did not jump"
    stage.nemesis.took(fault, f"it jumped by {after - before:.1f} s")
