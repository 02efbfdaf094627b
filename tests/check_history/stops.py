"""V11: who was asked to stop politely ended in time, with code 0, and took nothing along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.check_history.history import SECOND, Event, History, Problem, ends
from tests.check_history.intervals import Interval

AFTER = SECOND // 4  # error of measuring a death


def clean_stops(history: History, runs: list[Interval]) -> Iterator[Problem]:
    limits: dict[str, float] = {}
    asked: Counter[str] = Counter()
    killed = {pid for fault in history.of("fault_on") for pid in fault.get("kills", ())}
    for stop in history.run["clean_stops"]:
        limits[stop["proc"]] = stop["limit"]
        asked[stop["proc"]] += 1
        if stop.get("code", 0) != 0:
            yield Problem("V11", f"{stop['proc']} was asked to stop and ended with {stop['code']}", (stop,))
    for proc, times in asked.items():
        exits = 0
        for name, lines in history.files.items():
            if name.split(".")[0] != proc:
                continue
            last = next((line for line in reversed(lines) if line["event"] == "exit"), None)
            if last is None or last["pid"] in killed:
                continue
            exits += last["code"] == 0
            yield from _one(history, proc, lines, last, limits[proc], runs)
        if exits < times:
            yield Problem("V11", f"{proc} was asked to stop {times} times and left with code 0 {exits} times")


def _one(
    history: History, proc: str, lines: list[Event], last: Event, limit: float, runs: list[Interval]
) -> Iterator[Problem]:
    if last["code"] != 0:
        yield Problem("V11", f"{proc} ended with {last['code']}", (last,))
    begin = next((line for line in lines if line["event"] == "drain"), None)
    if begin is not None and (last["t"] - begin["t"]) / SECOND > limit:
        yield Problem("V11", f"{proc} took more than {limit:g} s to stop", (begin, last))
    sessions = {line["session"] for line in lines if line["event"] == "hello"}
    if not sessions:
        return
    born = lines[0]["t"]
    for one in runs:
        if one.worker == proc and born <= one.start <= last["t"] and one.end > last["t"] + AFTER:
            yield Problem("V11", f"task {one.task} ran at {proc} after it had ended", (last, one.line))
    if begin is not None:
        yield from _counted(history, proc, begin, sessions)


def _counted(history: History, proc: str, begin: Event, sessions: set[int]) -> Iterator[Problem]:
    """A crash or a loss of what it still held when it began to leave."""
    if history.clock.stepped:
        return
    ended = ends(history)
    for row in history.attempts:
        end = ended.get((row["task_id"], row["attempt"]))
        mine = row["session_id"] in sessions and _closed(history, row["session_id"])
        if mine and row["outcome"] == "lost" and end and history.at(end) > begin["t"]:
            yield Problem("V11", f"{proc} left politely, and task {row['task_id']} counts as lost", (begin, row))


def _closed(history: History, session: int) -> bool:
    return any(row["session_id"] == session and row["state"] == "closed" for row in history.workers)
