"""V5: attempts count 1, 2, 3 …, each under a lease of its own, and only what was assigned is run, once."""

from __future__ import annotations

from collections.abc import Iterator

from tests.check_history.history import History, Problem, Row, assigns, gives
from tests.check_history.intervals import Interval


def counted(history: History) -> Iterator[Problem]:
    for task, changes in history.changes.items():
        number, keys = 0, dict[str, Row]()
        for row in changes:
            if not assigns(row):
                continue
            number += 1
            if row["attempt"] != number:
                yield Problem("V5", f"task {task}: attempt {row['attempt']} where {number} was due", (row,))
                break
            if (before := keys.setdefault(row["lease_key"], row)) is not row:
                yield Problem("V5", f"task {task} was assigned twice under one lease", (before, row))


def only_what_was_assigned(history: History, runs: list[Interval]) -> Iterator[Problem]:
    given = gives(history)
    seen: dict[tuple[int, int], Interval] = {}
    for one in runs:
        give = given.get((one.task, one.attempt))
        key = one.line.get("lease_key")
        if give is None or (key and give["lease_key"] != key):
            yield Problem(
                "V5", f"task {one.task} attempt {one.attempt} ran and was never assigned so", (one.line, give)
            )
        elif history.names.get(give["session"], one.worker) != one.worker:
            yield Problem("V5", f"task {one.task} attempt {one.attempt} ran at {one.worker}, not where it was assigned",
                          (one.line, give))  # fmt: skip
        if (before := seen.setdefault((one.task, one.attempt), one)) is not one:
            yield Problem("V5", f"task {one.task} attempt {one.attempt} was started twice", (before.line, one.line))
