"""What a history says in numbers: for the table of results, and the first look at a run that went wrong."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEEN_LATE = 250_000_000  # nanoseconds by which the sampler may be late with a death
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})


@dataclass
class Interval:
    """One attempt's time in user code; nanoseconds of CLOCK_MONOTONIC."""

    task: int
    attempt: int
    pid: int
    start: int
    end: int | None = None
    worker: str = ""
    how: str = "unknown"  # return, raise, cancelled; killed with its process


@dataclass
class Account:
    """Seconds, and counts of tasks."""

    acknowledged: int = 0
    lost: list[int] = field(default_factory=list)  # acknowledged and not in the table
    unfinished: list[int] = field(default_factory=list)
    finals: int = 0  # rows that entered a final state more than once
    states: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    repeated: list[int] = field(default_factory=list)  # ran again though no try had failed
    overlap: float = 0.0  # two attempts of one task at once, added up
    overlapping: list[int] = field(default_factory=list)
    fenced: int = 0

    def as_json(self) -> dict[str, Any]:
        shown = {name: value for name, value in vars(self).items() if not isinstance(value, list)}
        return shown | {name: len(value) for name, value in vars(self).items() if isinstance(value, list)}


def events(history: Path, proc: str = "*") -> list[dict[str, Any]]:
    """Of all files of these processes, in the order of time."""
    found = [json.loads(line) for path in history.glob(f"{proc}.*.jsonl") for line in path.read_text().splitlines()]
    return sorted(found, key=lambda one: int(one["t"]))


def rows(history: Path, table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (history / f"{table}.jsonl").read_text().splitlines()]


def intervals(history: Path) -> list[Interval]:
    """Every run of user code. What did not say how it ended, ended with its process."""
    found: list[Interval] = []
    going: dict[tuple[int, int, int], Interval] = {}
    for one in events(history, "handlers"):
        if one["event"] == "exec_start":
            key = (one["pid"], one["task"], one["attempt"])
            going[key] = Interval(one["task"], one["attempt"], one["pid"], one["t"], worker=one["worker"])
            found.append(going[key])
        elif one["event"] == "exec_end":
            interval = going.pop((one["pid"], one["task"], one["attempt"]))
            interval.end, interval.how = one["t"], one["how"]
    deaths = _deaths(history)
    for interval in going.values():
        later = [max(at, interval.start) for at in deaths[interval.pid] if at >= interval.start - SEEN_LATE]
        interval.end, interval.how = (min(later), "killed") if later else (None, "unknown")
    return found


def _deaths(history: Path) -> dict[int, list[int]]:
    deaths: dict[int, list[int]] = defaultdict(list)
    for one in events(history, "nemesis"):
        for pid in one.get("kills", ()):
            deaths[pid].append(one["t"])
    killed = frozenset(deaths)
    for one in events(history, "sampler"):
        if one["event"] == "gone" and one["pid"] not in killed:
            deaths[one["pid"]].append(one["t"] - SEEN_LATE)
    return deaths


def account(history: Path) -> Account:
    """Reads the whole history."""
    result = Account()
    told = {one["task"] for one in events(history, "client") if one["event"] == "submit_ok"}
    tasks = {row["id"]: row for row in rows(history, "tasks")}
    result.acknowledged = len(told)
    result.lost = sorted(told - tasks.keys())
    result.unfinished = sorted(task for task, row in tasks.items() if row["state"] not in FINAL)
    for row in tasks.values():
        result.states[row["state"]] = result.states.get(row["state"], 0) + 1
    entered: dict[int, int] = defaultdict(int)
    for row in rows(history, "audit"):
        if row["table"] == "tasks" and row["new_state"] in FINAL:
            entered[row["key"]] += 1
    result.finals = sum(count > 1 for count in entered.values())
    by_task: dict[int, list[Interval]] = defaultdict(list)
    for interval in intervals(history):
        by_task[interval.task].append(interval)
    for task, runs in sorted(by_task.items()):
        runs.sort(key=lambda one: one.start)
        result.runs += len(runs)
        if any(one.how not in ("raise", "cancelled") for one in runs[:-1]):
            result.repeated.append(task)
        together = _together(runs)
        if together > 0:
            result.overlap += together
            result.overlapping.append(task)
    result.overlap = round(result.overlap, 3)
    result.fenced = sum(one["event"] == "verdict" and one["verdict"] == "fenced" for one in events(history, "w*"))
    return result


def _together(runs: list[Interval]) -> float:
    """Seconds for which a later run had begun before an earlier one had ended."""
    total, until = 0, 0
    for one in runs:
        end = one.end if one.end is not None else 2**62
        total += max(0, min(until, end) - one.start)
        until = max(until, end)
    return total / 1e9


def failovers(history: Path) -> list[float]:
    """From each blow to a worker to the next start of each task that it ran then, in seconds.

    First attempts only: who was lost twice waits for a second, and gets an executor of its own.
    """
    runs: dict[int, list[Interval]] = defaultdict(list)
    for one in intervals(history):
        runs[one.task].append(one)
    found: list[float] = []
    for fault in events(history, "nemesis"):
        if fault["event"] != "fault_on" or fault["kind"] not in ("visible_death", "silent"):
            continue
        for mine in runs.values():
            first = next((one for one in mine if one.attempt == 1 and one.worker == fault["target"]), None)
            if first is None or not first.start < fault["t"] <= (first.end or 2**62):
                continue
            later = [one.start for one in mine if one.start > fault["t"]]
            if later:
                found.append(round((min(later) - fault["t"]) / 1e9, 2))
    return sorted(found)


def p50(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
