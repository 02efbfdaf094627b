"""V17: health says what is the case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.check_history.history import SECOND, Event, History, Problem

SAY = 5.0  # seconds until a change shows
EVERY = 1.5  # seconds between two looks, at most


def honest(history: History) -> Iterator[Problem]:
    by_node: dict[str, list[Event]] = defaultdict(list)
    for line in history.of("health"):
        by_node[line["node"]].append(line)
    offs = {line["id"]: line["t"] for line in history.of("fault_off")}
    for node, lines in by_node.items():
        for line in lines:
            if line["live"] is False:
                yield Problem("V17", f"{node} said that it is not alive, and was", (line,))
                break
        yield from _recovers(history, node, lines)
        for fault in history.of("fault_on"):
            if fault["kind"] == "database":
                off = offs.get(fault["id"], history.run["ended_t"])
                yield from _tells(history, node, lines, fault, off)


def _tells(history: History, node: str, lines: list[Event], fault: Event, off: int) -> Iterator[Problem]:
    """A server node is not ready without its database, which did not even tell the sampler the time."""
    if history.names and node in history.names.values():
        return  # a worker goes on with what it has
    late = fault["t"] + round((SAY + EVERY) * SECOND)
    told = [one["t"] for one in history.of("clock") if fault["t"] < one["t"] < off]
    off = min(told, default=off)
    for line in lines:
        if late < line["t"] < off and line["ready"] is True:
            yield Problem("V17", f"{node} called itself ready {SAY:g} s after its database had gone", (fault, line))
            return


def _recovers(history: History, node: str, lines: list[Event]) -> Iterator[Problem]:
    """After healing, until the first process is asked to leave."""
    offs = {line["id"] for line in history.of("fault_off")}
    if any(line["id"] not in offs for line in history.of("fault_on")):
        return  # something is wrong for good
    start = history.run["healed_t"] + round((SAY + EVERY) * SECOND)
    leaving = [line["t"] for line in history.of("drain", "exit") if line["t"] > history.run["healed_t"]]
    end = min(leaving, default=history.run["ended_t"])
    since: Event | None = None
    for line in lines:
        if not start < line["t"] < end:
            continue
        since = None if line["ready"] is True else since or line
        if since is None or since is line:
            continue
        if line["ready"] is False or (line["t"] - since["t"]) / SECOND > SAY:
            yield Problem("V17", f"{node} was not ready {SAY:g} s after everything was healed", (since, line))
            return
