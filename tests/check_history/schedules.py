"""V7: every nominal time of a schedule has one row, or is counted in one gap; nothing else fires."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.check_history.history import History, Problem, Row
from tests.check_history.nominal import times

EARLY = 0.001  # seconds that a row may be there before its time: the precision of what is written down
BEHIND = 5.0  # seconds before a pause, or the end, in which a slot need not have fired yet
MANY = 20_000  # nominal times: more are not walked


def slots(history: History) -> Iterator[Problem]:
    rows: dict[int, list[Row]] = {row["id"]: [] for row in history.schedules}
    for row in history.slots:
        if row["schedule_id"] not in rows:
            yield Problem("V7", "a slot of a schedule that is not there", (row,))
            continue
        rows[row["schedule_id"]].append(row)
    yield from _tasks(history)
    for schedule in history.schedules:
        yield from _unique(schedule, rows[schedule["id"]])
        yield from _accounted(history, schedule, rows[schedule["id"]])


def _tasks(history: History) -> Iterator[Problem]:
    fired = [row for row in history.slots if row["task_id"] is not None]
    for task, count in Counter(row["task_id"] for row in fired).items():
        if count > 1:
            yield Problem("V7", f"{count} slots have one task {task}", tuple(r for r in fired if r["task_id"] == task))
    known = {row["id"]: row.get("schedule_id") for row in history.tasks}
    for row in fired:
        if known.get(row["task_id"]) != row["schedule_id"]:
            yield Problem("V7", f"slot {row['id']} has fired, and its task {row['task_id']} is not its own", (row,))
    of = Counter(row["task_id"] for row in fired)
    for task, schedule in known.items():
        if schedule is not None and not of[task]:
            yield Problem("V7", f"task {task} of schedule {schedule} has no slot")
    for row in history.slots:
        if (row["state"] == "fired") != (row["task_id"] is not None):
            yield Problem("V7", f"slot {row['id']} is {row['state']} with task {row['task_id']}", (row,))
        if row["kind"] == "nominal" and row["slot_at"] > row["created_at"] + EARLY:
            yield Problem("V7", f"slot {row['id']} was entered before its time", (row,))


def _unique(schedule: Row, rows: list[Row]) -> Iterator[Problem]:
    counts = Counter(round(row["slot_at"], 6) for row in rows if row["state"] != "gap")
    for at, count in counts.items():
        if count > 1:
            mine = tuple(row for row in rows if round(row["slot_at"], 6) == at)
            yield Problem("V7", f"{schedule['name']} has {count} rows of one slot", mine)


def _accounted(history: History, schedule: Row, rows: list[Row]) -> Iterator[Problem]:
    """Of a schedule that was never edited: what is in the table of one that was is not all that held."""
    if schedule["version"] > 1:
        return
    definition: dict[str, Any] = schedule["definition"]
    if isinstance(definition, str):
        definition = json.loads(definition)
    name, since, counted = schedule["name"], schedule["created_at"], schedule["counted_to"]
    ends = [one for one in (schedule["paused_at"], schedule["deleted_at"], _end(history)) if one is not None]
    expected = times(definition, schedule["anchor"], since, max(counted, min(ends) - BEHIND))
    if len(expected) > MANY:
        yield Problem("inconclusive", f"{name} has {len(expected)} nominal times: too many to look at each")
        return
    gaps = [row for row in rows if row["state"] == "gap"]
    nominal = {_milliseconds(row["slot_at"]) for row in rows if row["kind"] == "nominal" and row["state"] != "gap"}
    again = {_milliseconds(row["slot_at"]) for row in rows if row["kind"] == "backfill"}
    counts: Counter[int] = Counter()
    for at in expected:
        within = [place for place, gap in enumerate(gaps) if gap["slot_at"] - EARLY <= at <= gap["until"] + EARLY]
        counts.update(within)
        found = len(within) + (_milliseconds(at) in nominal)
        if found > 1:
            yield Problem("V7", f"{name}: the slot of {at:.3f} is accounted for {found} times")
        elif not found and _milliseconds(at) not in again:
            yield Problem("V7", f"{name}: the slot of {at:.3f} is not accounted for")
    for place, gap in enumerate(gaps):
        if gap["count"] != counts[place] and "at least" not in (gap["reason"] or ""):
            yield Problem("V7", f"{name}: a gap says {gap['count']} and holds {counts[place]}", (gap,))
    for at in sorted(nominal - {_milliseconds(one) for one in expected}):
        yield Problem("V7", f"{name}: {at / 1000:.3f} is no time at which it fires")


def _end(history: History) -> float:
    """When the database was last looked at."""
    return max(float(one["database"]) for one in history.of("clock"))


def _milliseconds(at: float) -> int:
    return round(at * 1000)
