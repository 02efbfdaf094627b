"""`python -m tests.system.bench`: lists scenarios, and runs them against real processes."""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from actors.model.lease import PROFILES
from tests.support.postgres import open_server
from tests.system.bench.run import Result, run
from tests.system.bench.scenario import CATALOGUE, Scenario
from tests.system.bench.soak import at_random, soak
from tests.system.scenarios import all as _all  # noqa: F401 (fills the catalogue)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also an end that leaves nothing behind
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = _options()
    if options.list:
        return _list()
    if options.table:
        print(table(options.table))
        return 0
    if options.soak:
        seed = options.seed if options.seed is not None else random.SystemRandom().randint(1, 10**6)
        print(f"soak for {options.soak:g} minutes with seed {seed}", flush=True)
        with open_server() as server:
            result = trio.run(soak, server, partial(at_random, options.soak, seed), seed, options.keep)
        print(result.line())
        print(json.dumps(result.numbers, indent=1))
        return summary([result], options.results)
    chosen = _chosen(options)
    if not chosen:
        print("error: name scenarios (--scenario P01), or --all, --group, --measure, --soak or --list", file=sys.stderr)
        return 2
    results = run_all(chosen, options)
    if options.measure:
        print(measurements(results))
    return summary(results, options.results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.bench", description=__doc__)
    parser.add_argument("--list", action="store_true", help="all scenarios, and what is missing here for them")
    parser.add_argument("--all", action="store_true", help="every scenario in every shape, but for measurements")
    parser.add_argument("--group", action="append", default=[], metavar="LETTER", help="A to F, or M")
    parser.add_argument("--measure", action="store_true", help="the promises in seconds, under the default terms")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="random blows to one system")
    parser.add_argument("--scenario", action="append", default=[], metavar="ID", help="also a beginning: P13.")
    parser.add_argument("--shape", metavar="SHAPE", help="only this one")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--times", type=int, default=1, help="with seed, seed + 1, …")
    parser.add_argument("--blows", type=int, help="of the shape `repeated`, and of measurements")
    parser.add_argument("--profile", choices=sorted(PROFILES), help="other lease terms than the scenario's")
    parser.add_argument("--small", action="store_true", help="fewer nodes and tasks")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave what each run wrote in this folder")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--table", type=Path, metavar="FILE", help="results, as a table in Markdown")
    return parser.parse_args()


def _list() -> int:
    for one in CATALOGUE.values():
        missing = one.missing()
        note = f"  [{missing}]" if missing else ""
        print(f"{one.id:31} {one.group}  {', '.join(one.shapes):35} {one.title}{note}")
    return 0


def _chosen(options: argparse.Namespace) -> list[Scenario]:
    groups = ["M"] if options.measure else list("ABCDEF") if options.all else options.group
    found = [one for one in CATALOGUE.values() if one.group in groups]
    for name in options.scenario:
        found += [
            one for one in CATALOGUE.values() if one.id == name or (name.endswith(".") and one.id.startswith(name))
        ]
    return found


def run_all(chosen: list[Scenario], options: argparse.Namespace) -> list[Result]:
    results: list[Result] = []
    first = options.seed if options.seed is not None else 1
    for given in chosen:
        one = given.small() if options.small else given
        one = replace(one, repeats=options.blows) if options.blows else one
        one = replace(one, layout=replace(one.layout, profile=options.profile)) if options.profile else one
        for shape in [options.shape] if options.shape else one.shapes:
            for seed in range(first, first + options.times):
                folder = options.keep / f"{one.id}-{shape}-{seed}" if options.keep else None
                with open_server() as server:
                    results.append(trio.run(run, one, shape, seed, server, folder))
                print(results[-1].line(), flush=True)
                if results[-1].verdict == "skipped":
                    break
    return results


def measurements(results: list[Result]) -> str:
    """What was measured, against what is promised; seconds."""
    lines = [f"{'':4} {'what':45} {'count':>5} {'p50':>6} {'max':>6} {'bound':>6}"]
    for one in results:
        numbers, known = one.numbers, CATALOGUE[one.scenario]
        p50, longest = numbers.get("failover_p50", "–"), numbers.get("failover_max", "–")
        bound = known.bound or ("none ran again" if not numbers.get("repeated") else f"{numbers['repeated']} ran again")
        lines.append(
            f"{one.scenario:4} {known.title:45} {numbers.get('failovers', 0):5} {p50:>6} {longest:>6} {bound:>6}"
        )
    return "\n".join(lines)


def table(file: Path) -> str:
    """Results as a table in Markdown, one line a scenario, or a matrix of them (P13.…); what failed says so."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(file.read_text()):
        rows.setdefault(one["scenario"].partition(".")[0], []).append(one)
    head = ("id", "what happens", "shapes", "runs", "new start: p50, max", "verdict")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, runs in rows.items():
        run = [one for one in runs if one["verdict"] != "skipped"]
        title = runs[0]["title"]
        if len({one["scenario"] for one in runs}) > 2:
            title = title.partition(": ")[0]
        shapes = ", ".join(dict.fromkeys(one["shape"] for one in runs))
        lines.append(f"| {name} | {title} | {shapes} | {len(run)} | {_new_starts(run)} | {_verdict(runs)} |")
    return "\n".join(lines)


def _new_starts(runs: list[dict[str, Any]]) -> str:
    measured = [one["numbers"] for one in runs if one["numbers"].get("failovers")]
    if not measured:
        return "–"
    middle = statistics.median(one["failover_p50"] for one in measured)
    return f"{middle:.1f} s, {max(one['failover_max'] for one in measured):.1f} s"


def _verdict(runs: list[dict[str, Any]]) -> str:
    counts = Counter(one["verdict"] for one in runs)
    if list(counts) == ["skipped"]:
        return f"skipped ({'; '.join(dict.fromkeys(reason for one in runs for reason in one['reasons']))})"
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {verdict}" for verdict, n in counts.items())


def summary(results: list[Result], file: Path | None) -> int:
    """Prints the count, writes the file; 0 when everything that was run held."""
    counts = {verdict: sum(one.verdict == verdict for one in results) for verdict in
              ("held", "violated", "inconclusive", "skipped")}  # fmt: skip
    print(f"{len(results)} runs: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if file is not None:
        rows = [
            vars(one) | {"title": CATALOGUE[one.scenario].title if one.scenario in CATALOGUE else "soak"}
            for one in results
        ]
        file.write_text(json.dumps(rows, indent=1))
    return 1 if counts["violated"] else 2 if counts["inconclusive"] else 0


if __name__ == "__main__":
    sys.exit(main())
