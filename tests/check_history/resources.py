"""V16: nothing is left behind, nothing grows. V15: nothing spins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.check_history.history import SECOND, Event, History, Problem
from tests.check_history.intervals import Interval

ZOMBIE = 2.0  # seconds
SPIN, SPIN_FOR = 0.9, 10.0  # share of a processor, seconds
WARM = 3  # samples: before them a process is still starting
SLACK = {"rss": 20 * 2**20, "fds": 10, "threads": 6}


def samples(history: History) -> dict[tuple[str, int], list[Event]]:
    found: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for line in history.of("sample"):
        found[line["node"], line["pid"]].append(line)
    return found


def nothing_left_behind(history: History) -> Iterator[Problem]:
    for (node, pid), lines in samples(history).items():
        since: Event | None = None
        for line in lines:
            since = (since or line) if line["zombies"] else None
            if since is not None and (line["t"] - since["t"]) / SECOND > ZOMBIE:
                yield Problem(
                    "V16", f"{node} (process {pid}) let a zombie lie for more than {ZOMBIE:g} s", (since, line)
                )
                break
    most = history.run.get("limits", {}).get("connections")
    for line in history.of("database"):
        if most is not None and line["connections"] > most:
            yield Problem(
                "V16", f"{line['connections']} connections to the database; {most} are the sum of the pools", (line,)
            )
            break


def nothing_grew(history: History) -> Iterator[Problem]:
    """The level before the first fault, and the lowest one after healing."""
    faults = history.of("fault_on")
    if not faults:
        return
    struck, healed = faults[0]["t"], history.run["healed_t"]
    for (node, pid), lines in samples(history).items():
        before = [line for line in lines if line["t"] < struck][WARM:]
        after = [line for line in lines if line["t"] > healed]
        if len(before) < WARM or len(after) < WARM:
            continue
        for what, slack in SLACK.items():
            level = max(before, key=lambda line: int(line[what]))
            now = min(after[-WARM:], key=lambda line: int(line[what]))
            if now[what] > level[what] * 1.1 + slack:
                yield Problem(
                    "V16", f"{node} (process {pid}): {what} rose from {level[what]} to {now[what]}", (level, now)
                )


def nothing_spins(history: History, runs: list[Interval]) -> Iterator[Problem]:
    """While no handler runs and nobody asks for anything."""
    busy = [line["t"] for line in history.of("submit_invoke", "cancel_invoke", "read", "fault_on", "fault_off")]
    busy += [one.end for one in runs]
    idle = max(busy, default=history.run["started_t"])
    for (node, pid), lines in samples(history).items():
        since: Event | None = None
        for before, line in pairwise(lines):
            seconds = (line["t"] - before["t"]) / SECOND
            if before["t"] < idle or line["cpu"] - before["cpu"] < SPIN * seconds:
                since = None
                continue
            since = since or before
            if (line["t"] - since["t"]) / SECOND >= SPIN_FOR:
                yield Problem(
                    "V15",
                    f"{node} (process {pid}) spins for more than {SPIN_FOR:g} s with nothing to do",
                    (since, line),
                )
                break
