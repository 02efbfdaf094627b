"""V14: tries, crashes and what counts as neither are counted right, and poison is set aside when it is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.check_history.history import History, Problem, Row, leaves

COUNTS = {
    "tries": ("failed", "timed_out"), "crashes": ("crashed", "lost"), "undelivered": ("refused", "undelivered")
}  # fmt: skip
POISON = 3  # crashes
SECOND_CRASH = 0.9  # seconds until a second crash is due again: a second, less what rounding takes


def counts(history: History) -> Iterator[Problem]:
    outcomes: dict[int, Counter[str]] = {}
    for row in history.attempts:
        if row["accepted"]:
            outcomes.setdefault(row["task_id"], Counter())[row["outcome"]] += 1
    for row in history.tasks:
        mine = outcomes.get(row["id"], Counter())
        for column, kinds in COUNTS.items():
            counted = sum(mine[kind] for kind in kinds)
            if row[column] != counted:
                yield Problem(
                    "V14", f"task {row['id']}: {column} are {row[column]}; its attempts say {counted}", (row,)
                )
        most = row["max_tries"]
        if most is not None and row["tries"] > most:
            yield Problem("V14", f"task {row['id']} was tried {row['tries']} times of {most}", (row,))
        if row["state"] == "quarantined" and not history.expect["lossy"]:
            yield Problem("V14", f"task {row['id']} was quarantined in a run that should lose none", (row,))


def steps(history: History) -> Iterator[Problem]:
    for task, changes in history.changes.items():
        before: Row | None = None
        for row in changes:
            if before is not None and row["new_state"] is not None:
                yield from _step(task, before, row)
            before = row


def _step(task: int, before: Row, row: Row) -> Iterator[Problem]:
    grown = {column: row[column] - before[column] for column in COUNTS}
    if not leaves(row):
        if any(grown.values()):
            yield Problem("V14", f"task {task}: something was counted though no attempt ended", (before, row))
        return
    if any(by not in (0, 1) for by in grown.values()) or sum(grown.values()) > 1:
        yield Problem("V14", f"task {task}: more than one thing was counted for one attempt", (before, row))
    elif row["new_state"] == "succeeded" and any(grown.values()):
        yield Problem("V14", f"task {task}: a success was counted against it", (before, row))
    elif row["new_state"] == "quarantined" and (row["crashes"] < POISON or not grown["crashes"]):
        yield Problem("V14", f"task {task} was quarantined after {row['crashes']} crashes", (before, row))
    elif grown["crashes"] and row["new_state"] == "queued":
        if row["crashes"] >= POISON:
            yield Problem(
                "V14", f"task {task} crashed {row['crashes']} times and went back into the queue", (before, row)
            )
        elif row["crashes"] == POISON - 1 and row["run_at"] < row["at"] + SECOND_CRASH:
            yield Problem("V14", f"task {task} was due at once after its second crash", (before, row))
