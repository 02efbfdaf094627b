"""One run of one scenario: the system is started, loaded, struck, healed, emptied, written down and judged."""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tests.support.postgres import Server
from tests.system.bench.account import account, failovers, p50
from tests.system.bench.dump import dump, terms_as_json
from tests.system.bench.load import Load
from tests.system.bench.nemesis import Nemesis
from tests.system.bench.sampler import Sampler
from tests.system.bench.scenario import Scenario, Skipped, Stage, play
from tests.system.bench.system import System, open_system

START_LIMIT, LOAD_LIMIT = 90.0, 400.0
JUDGE = "tests.check_history.judge"
STRAIN = 0.5  # beyond this share of some seconds without a processor, what depends on time says nothing
HARD = ("V1: acknowledged", "V1: there is", "V2:", "V3:", "V4:", "V5:", "V6:", "V8:", "V13:", "V18:", "V20:")


@dataclass
class Result:
    """How a run ended: held, violated, inconclusive or skipped."""

    scenario: str
    shape: str
    seed: int
    verdict: str
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0
    numbers: dict[str, Any] = field(default_factory=dict)
    judged_by: str = "the bench"
    starved: bool = False  # the machine was too busy for a verdict

    def line(self) -> str:
        more = "".join(f"\n      {reason.splitlines()[0][:300]}" for reason in self.reasons if reason)
        return f"{self.scenario:4} {self.shape:9} seed {self.seed:<5} {self.seconds:5.1f} s  {self.verdict}{more}"


async def run(scenario: Scenario, shape: str, seed: int, server: Server, folder: Path | None = None) -> Result:
    """Never raises for what the system does: that is the verdict."""
    began = time.monotonic()
    result = Result(scenario.id, shape, seed, "held")
    reason = scenario.missing()
    if reason is not None:
        result.verdict, result.reasons = "skipped", [reason]
        return result
    try:
        async with open_system(server, scenario.layout, folder) as system:
            await _run_on(system, scenario, result)
    except* Skipped as group:
        result.verdict, result.reasons = "skipped", [str(error) for error in _leaves(group)]
    except* Exception as group:
        result.verdict = "inconclusive" if result.verdict == "held" else result.verdict
        result.reasons += [f"{type(error).__name__}: {error}" for error in _leaves(group)]
    result.seconds = round(time.monotonic() - began, 1)
    return result


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _run_on(system: System, scenario: Scenario, result: Result) -> None:
    run = Run(system, scenario, result.shape, result.seed)
    async with trio.open_nursery() as background:
        background.start_soon(run.sampler.run)
        try:
            await run.whole()
        except* AssertionError as group:
            result.verdict = "violated"
            result.reasons += [str(error) or repr(error) for error in _leaves(group)]
        finally:
            run.nemesis.thaw()  # a process that is stopped can't be ended politely
        if system.server.process is None:
            await trio.to_thread.run_sync(system.server.start)
        await run.finish()
        background.cancel_scope.cancel("the run is over")
    await run.write()
    judge(system.history, result, scenario)
    forgive(result, run.sampler.strain)


def forgive(result: Result, strain: float) -> None:
    """On a machine that starves its processes only what must hold at any speed is a violation."""
    result.numbers["strain"] = round(strain, 2)
    hard = [reason for reason in result.reasons if reason.startswith(HARD) or "at once" in reason]
    if result.verdict == "violated" and strain > STRAIN and not hard:
        result.verdict, result.starved = "inconclusive", True
        result.reasons.append(
            f"the machine was too busy: a process waited for a processor {strain:.0%} of some seconds"
        )


class Run:
    """The course of one."""

    def __init__(self, system: System, scenario: Scenario, shape: str, seed: int) -> None:
        self.system, self.scenario, self.shape, self.seed = system, scenario, shape, seed
        self.sampler, self.nemesis = Sampler(system), Nemesis(system)
        self.load = Load(system, scenario.mix, seed)
        self.stage = Stage(system, self.nemesis, self.load, shape, random.Random(f"{scenario.id} {shape} {seed}"))
        self.times: dict[str, int] = {}

    async def whole(self) -> None:
        system, scenario = self.system, self.scenario
        await scenario.before(self.stage)
        await self.start()
        await scenario.prepare(self.stage)
        self.now("started_t")
        with trio.move_on_after(LOAD_LIMIT) as limit:
            async with trio.open_nursery() as nursery:
                struck = trio.Event()
                nursery.start_soon(self.load.run, struck)
                await trio.sleep(scenario.fault_at)
                await play(scenario, self.stage)
                self.now("healed_t")
                struck.set()
        if limit.cancelled_caught:
            raise RuntimeError(f"load and blows were not over within {LOAD_LIMIT:g} s")
        await scenario.after(self.stage)
        await until_final(system, scenario.final_within)
        await self.load.read_all()
        await scenario.check(self.stage)

    async def start(self) -> None:
        """Everybody is there. Raises RuntimeError when the machine is too slow for that."""
        with trio.move_on_after(START_LIMIT) as limit:
            await self.system.start(*self.system.names)
            await self.system.until_workers(limit=START_LIMIT)
        self.sampler.calm()
        if limit.cancelled_caught:
            raise RuntimeError(f"the system did not start within {START_LIMIT:g} s")

    async def finish(self) -> None:
        """What was permanent ends; everybody leaves, workers first, and nobody's process stays."""
        system = self.system
        self.nemesis.thaw()
        system.calm()
        pids = [pid for name in system.names for pid in system.pids(name)]
        await system.stop(*system.layout.worker_names)
        await system.stop(*system.server_names)
        await self.nemesis.gone(pids, limit=10)
        await trio.sleep(0.05)  # the last deaths are seen
        self.sampler.bury()
        self.now("ended_t")

    def now(self, name: str) -> None:
        self.times[name] = time.monotonic_ns()

    async def write(self) -> None:
        system, scenario = self.system, self.scenario
        for recorder in (system.client, system.nemesis, system.sampler):
            recorder.end()
        await dump(system)
        blows = scenario.repeats if self.shape == "repeated" else 1
        planned = max(scenario.mix.tasks, self.load.invoked)
        about = {
            "scenario": scenario.id, "shape": self.shape, "seed": self.seed, "profile": system.layout.profile,
            **self.times, "terms": terms_as_json(system.layout.terms), "planned_ops": planned,
            "slots": {name: system.layout.slots_of(name) for name in system.layout.worker_names},
            "max_tries_default": 4,
            "expect": {
                "overlap": scenario.overlap, "faults": scenario.faults * blows, "final_within": scenario.final_within,
                "unfinished": [], "lossy": scenario.lossy, "lateness": False, "may_5xx": [503],
            },
            "clean_stops": system.clean_stops,
        }  # fmt: skip
        (system.history / "run.json").write_text(json.dumps(about, indent=1))


async def until_final(system: System, limit: float) -> None:
    """Until no task is unfinished. Raises AssertionError that names some that are."""
    query = "SELECT id, state, attempt FROM callboard_tasks WHERE finished_at IS NULL ORDER BY id LIMIT 5"
    left: list[Any] = []

    async def none_left() -> bool:
        nonlocal left
        async with system.database() as database:
            left = [tuple(row) for row in await database.fetch(query)]
        return not left

    try:
        await system.when(none_left, "every task is final", limit)
    except AssertionError:
        raise AssertionError(f"V1: not final within {limit:g} s of healing: {left}") from None


def judge(history: Path, result: Result, scenario: Scenario) -> None:
    """The judge's verdict if there is one, and what the bench itself sees."""
    seen = account(history)
    result.numbers = seen.as_json()
    values = failovers(history)
    if values:
        result.numbers |= {"failovers": len(values), "failover_p50": p50(values), "failover_max": max(values)}
    reasons: list[str] = []
    if seen.lost:
        reasons.append(f"V1: acknowledged and lost: {seen.lost[:5]}")
    if seen.finals:
        reasons.append(f"V2: {seen.finals} tasks entered a final state more than once")
    if scenario.no_repeats and seen.repeated:
        reasons.append(f"V12: ran again: {seen.repeated[:5]}")
    if scenario.overlap == "0" and seen.overlap > 0:
        reasons.append(f"V12: {seen.overlap} s of two attempts at once: {seen.overlapping[:5]}")
    if scenario.bound and values and max(values) > scenario.bound:
        reasons.append(f"V10: a failover took {max(values)} s; the bound is {scenario.bound:g} s")
    if reasons:
        result.verdict, result.reasons = "violated", result.reasons + reasons
    ask = _judge()
    if ask is not None:
        result.judged_by = JUDGE
        code, words = ask(history)
        if code == 1:
            result.verdict = "violated"
        elif code == 2 and result.verdict == "held":
            result.verdict = "inconclusive"
        if code:
            result.reasons += words


def _judge() -> Callable[[Path], tuple[int, list[str]]] | None:
    """The independent judge: its exit code and its reasons."""
    if importlib.util.find_spec("tests.check_history") is None:
        return None
    try:
        module = importlib.import_module(JUDGE)
    except ModuleNotFoundError:
        return None

    def ask(history: Path) -> tuple[int, list[str]]:
        verdict = module.judge(history)
        return int(verdict.code), [str(one) for one in verdict.reasons]

    return ask
