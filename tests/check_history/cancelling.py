"""V8: what was cancelled never starts; what is being cancelled ends soon, and is never tried again.

What had been taken back before, from a worker that is out of reach, may start there while that one's lease lasts.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.check_history.history import FINAL, SECOND, History, Problem, leaves
from tests.check_history.intervals import Interval

SOON = 15.0  # seconds


def cancels(history: History, runs: list[Interval]) -> Iterator[Problem]:
    last = {one.task: one for one in runs}
    finals = {task: rows[-1] for task, rows in history.changes.items() if rows[-1]["new_state"] in FINAL}
    for line in history.of("cancel_ok"):
        task = line["task"]
        if line["answer"] == "cancelled":
            if task in last and last[task].start > line["t"] and not _out_of_reach(history, last[task], line["t"]):
                yield Problem("V8", f"task {task} was started after it was cancelled", (line, last[task].line))
            if (row := history.rows.get(task)) is not None and row["state"] != "cancelled":
                yield Problem("V8", f"task {task} was answered as cancelled and is {row['state']}", (line, row))
        elif task in finals and not history.clock.stepped:
            healed = max(line["t"], history.run["healed_t"])
            if (history.at(finals[task]) - healed) / SECOND > SOON:
                yield Problem("V8", f"task {task} took more than {SOON:g} s to be cancelled", (line, finals[task]))
    for task, changes in history.changes.items():
        for row in changes:
            if row["cancel"] and leaves(row) and row["new_state"] == "queued":
                yield Problem("V8", f"task {task} went back into the queue after its cancel", (row,))


def _out_of_reach(history: History, run: Interval, at: int) -> bool:
    """Whether its attempt had been taken back by then, and the lease of its worker may have lasted when it began."""
    lasts = (history.terms["lease"] - history.terms["margin"]) * SECOND
    return any(
        history.at(row) <= at and run.start <= history.at(row) + lasts
        for row in history.changes[run.task]
        if leaves(row) and row["new_state"] == "queued" and row["attempt"] == run.attempt
    )
