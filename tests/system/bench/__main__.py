"""`python -m tests.system.bench`: lists scenarios, and runs them against real processes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import trio

from tests.support.postgres import open_server
from tests.system.bench.run import Result, run
from tests.system.scenarios.all import CATALOGUE


def main() -> int:
    options = _options()
    if options.list:
        for one in CATALOGUE.values():
            missing = one.missing()
            print(
                f"{one.id:5} {one.group}  {', '.join(one.shapes):27} {one.title}{f'  [{missing}]' if missing else ''}"
            )
        return 0
    names = list(CATALOGUE) if options.all else options.scenario
    if not names:
        print("error: name scenarios (--scenario P01), or --all, or --list", file=sys.stderr)
        return 2
    results = run_all(names, options)
    return summary(results, options.results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.bench", description=__doc__)
    parser.add_argument("--list", action="store_true", help="all scenarios, and what is missing here for them")
    parser.add_argument("--all", action="store_true", help="every scenario in every shape")
    parser.add_argument("--scenario", action="append", default=[], metavar="ID")
    parser.add_argument("--shape", metavar="SHAPE", help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=int, default=1, help="with seed, seed + 1, …")
    parser.add_argument("--small", action="store_true", help="fewer nodes and tasks")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave what each run wrote in this folder")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the results as JSON")
    return parser.parse_args()


def run_all(names: list[str], options: argparse.Namespace) -> list[Result]:
    results: list[Result] = []
    for name in names:
        for shape in [options.shape] if options.shape else CATALOGUE[name].shapes:
            for seed in range(options.seed, options.seed + options.times):
                scenario = CATALOGUE[name].small() if options.small else CATALOGUE[name]
                folder = options.keep / f"{name}-{shape}-{seed}" if options.keep else None
                with open_server() as server:
                    results.append(trio.run(run, scenario, shape, seed, server, folder))
                print(results[-1].line(), flush=True)
    return results


def summary(results: list[Result], file: Path | None) -> int:
    """Prints the count, writes the file; 0 when everything that was run held."""
    counts = {verdict: sum(one.verdict == verdict for one in results) for verdict in
              ("held", "violated", "inconclusive", "skipped")}  # fmt: skip
    print(f"{len(results)} runs: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if file is not None:
        file.write_text(json.dumps([vars(one) for one in results], indent=1))
    return 1 if counts["violated"] else 2 if counts["inconclusive"] else 0


if __name__ == "__main__":
    sys.exit(main())
