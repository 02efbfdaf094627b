"""From when to when each attempt was in a handler."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tests.check_history.history import SECOND, Event, History

SEEN_LATE = SECOND // 4  # a death that only the sampler saw was so much earlier, at most


@dataclass(slots=True)
class Interval:
    task: int
    attempt: int
    worker: str
    start: int  # nanoseconds
    end: int
    how: str  # return, raise, cancelled; killed; unfinished when the run ended
    line: Event


def intervals(history: History) -> list[Interval]:
    """In the order of their starts."""
    deaths = _deaths(history)
    found: list[Interval] = []
    for name, lines in history.files.items():
        proc, pid = name.split(".")[:2]
        if proc == "handlers":
            found += _of_process(lines, deaths.get(int(pid), []), history.run["ended_t"])
    return sorted(found, key=lambda one: one.start)


def _of_process(lines: list[Event], deaths: list[int], ended: int) -> list[Interval]:
    found: list[Interval] = []
    going: dict[tuple[int | None, int | None], Interval] = {}
    for line in lines:
        key = (line.get("task"), line.get("attempt"))
        if line["event"] == "exec_start":
            one = Interval(line["task"], line["attempt"], line["worker"], line["t"], ended, "unfinished", line)
            going[key] = one
            found.append(one)
        elif line["event"] == "exec_end" and key in going:
            one = going.pop(key)
            one.end, one.how = line["t"], line["how"]
    for one in going.values():
        later = [at for at in deaths if at >= one.start - SEEN_LATE]
        if later:
            one.end, one.how = max(one.start, min(later)), "killed"
    return found


def _deaths(history: History) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for line in history.of("fault_on"):
        for pid in line.get("kills", ()):
            found[pid].append(line["t"])
    for line in history.of("gone"):
        found[line["pid"]].append(line["t"] - SEEN_LATE)
    return found


def together(runs: list[Interval]) -> int:
    """Nanoseconds for which more than one of these was going on. They are in the order of their starts."""
    total = until = 0
    for one in runs:
        total += max(0, min(until, one.end) - one.start)
        until = max(until, one.end)
    return total
