"""V12: how long two attempts of one task ran at once. V6: never more handlers than slots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.check_history.history import SECOND, History, Problem, gives
from tests.check_history.intervals import Interval, together

ERROR = 0.05  # seconds of measuring


def allowed(history: History) -> float:
    """Seconds of overlap that the run's kind of fault excuses."""
    terms, kind = history.terms, str(history.expect["overlap"])
    match kind.partition(":"):
        case "0", _, _:
            return 0.0
        case "cut", _, _:
            return terms["margin"]
        case "reset", _, _:
            return max(0.0, terms["lease"] - terms["margin"] - terms["grace"])
        case "pause", _, seconds:
            return float(seconds) + 1.0
    return float("inf")


def overlapping(history: History, runs: list[Interval]) -> Iterator[Problem]:
    limit = allowed(history)
    by_task: dict[int, list[Interval]] = defaultdict(list)
    for one in runs:
        by_task[one.task].append(one)
    for task, mine in by_task.items():
        seconds = together(mine) / SECOND if len(mine) > 1 else 0.0
        if seconds > limit + ERROR:
            yield Problem(
                "V12", f"attempts of task {task} ran at once for {seconds:.2f} s; {limit:g} s are excused",
                tuple(one.line for one in mine),
            )  # fmt: skip


def within_slots(history: History, runs: list[Interval]) -> Iterator[Problem]:
    given = gives(history)
    slots = {row["session_id"]: row["slots"] for row in history.workers}
    edges: dict[int, list[tuple[int, int, Interval]]] = defaultdict(list)
    for one in runs:
        give = given.get((one.task, one.attempt))
        if give is not None and one.end > one.start:  # one that died at once ended before it can be counted
            edges[give["session"]] += [(one.start, 1, one), (one.end, -1, one)]
    for session, mine in edges.items():
        going: dict[int, Interval] = {}
        for _, step, one in sorted(mine, key=lambda edge: edge[:2]):
            if step < 0:
                going.pop(id(one), None)
                continue
            going[id(one)] = one
            most = int(slots.get(session) or one.line["slots"])
            if len(going) > most:
                yield Problem(
                    "V6", f"session {session} ran {len(going)} handlers in {most} slots",
                    tuple(each.line for each in going.values()),
                )  # fmt: skip
                break
