"""Runs seeds, and says which of them broke a promise.

python -m tests.simulation --seeds 2000 --from 1 --scenario random --jobs 2
python -m tests.simulation --seed 4711 --scenario random -v
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing import get_context

HASHES = "0"  # what PYTHONHASHSEED must be for a run to be the same in another process


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, help="this one seed")
    parser.add_argument("--seeds", type=int, default=100, help="so many seeds of each scenario")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first of them")
    parser.add_argument("--scenario", action="append", help="a name; may be repeated; `all` for all (default: random)")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("-v", "--verbose", action="store_true", help="everything that happens, as it happens")
    parser.add_argument("--list", action="store_true", help="the names of the scenarios")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    if os.environ.get("PYTHONHASHSEED") != HASHES:  # the order of sets is part of a run
        environment = {**os.environ, "PYTHONHASHSEED": HASHES}
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], environment)
    from tests.simulation.scenarios import SCENARIOS

    if options.list:
        print("\n".join(f"{name:28} {(one.script.__doc__ or '').strip()}" for name, one in SCENARIOS.items()))
        return 0
    names = list(SCENARIOS) if options.scenario == ["all"] else options.scenario or ["random"]
    if unknown := [name for name in names if name not in SCENARIOS]:
        print(f"error: no scenario is named {', '.join(unknown)}; --list names them", file=sys.stderr)
        return 2
    if options.seed is not None:
        return one(names[0], options.seed, options.verbose)
    seeds = range(options.first, options.first + options.seeds)
    return many([(name, seed) for name in names for seed in seeds], options.jobs)


def one(name: str, seed: int, verbose: bool) -> int:
    from tests.simulation.run import run

    result = run(name, seed, verbose=verbose)
    print(
        f"{name} {seed}: {result.tasks} tasks, {result.executions} executions, {result.faults} faults, "
        f"{result.virtual:.1f} s in {result.real:.2f} s, trace {result.digest}"
    )
    for violation in result.violations:
        print(f"  violation: {violation}")
    return 1 if result.violations else 0


Found = tuple[str, int, int, int, float, list[str]]


def work(job: tuple[str, int]) -> Found:
    from tests.simulation.run import run

    try:
        result = run(*job)
    except Exception as error:
        return (*job, 0, 0, 0.0, [f"the run itself failed: {error!r}"])
    return (*job, result.tasks, result.executions, result.virtual, result.violations)


def results(jobs: list[tuple[str, int]], processes: int) -> Iterator[Found]:
    if processes == 1:
        yield from map(work, jobs)
    else:
        with get_context("fork").Pool(processes) as pool:
            yield from pool.imap_unordered(work, jobs, chunksize=8)


def many(jobs: list[tuple[str, int]], processes: int) -> int:
    began = time.perf_counter()
    runs, bad = Counter[str](), Counter[str]()
    tasks, executions, virtual = 0, 0, 0.0
    for name, seed, stored, executed, seconds, violations in results(jobs, processes):
        runs[name] += 1
        tasks, executions, virtual = tasks + stored, executions + executed, virtual + seconds
        if violations:
            bad[name] += 1
            print(f"{name} {seed}: python -m tests.simulation --seed {seed} --scenario {name} -v")
            print_some(violations)
    real = time.perf_counter() - began
    print(
        f"{sum(runs.values())} runs of {len(runs)} scenarios: {tasks} tasks, {executions} executions, "
        f"{virtual:.0f} virtual seconds in {real:.1f} s, {sum(runs.values()) / real:.1f} runs/s; "
        f"{sum(bad.values())} failed"
    )
    for name, count in bad.items():
        print(f"  {name}: {count} of {runs[name]} failed")
    return 1 if bad else 0


def print_some(violations: Iterable[str], most: int = 3) -> None:
    found = list(violations)
    for violation in found[:most]:
        print(f"  {violation[:600]}")
    if len(found) > most:
        print(f"  and {len(found) - most} more")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
