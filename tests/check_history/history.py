"""What is judged: the events of every process, the database's own log, and the final tables."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Event = dict[str, Any]
Row = dict[str, Any]

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})
HELD = frozenset({"assigned", "running"})
SECOND = 1_000_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Problem:
    """`about` is an invariant's id, or "inconclusive"; `evidence` the lines concerned."""

    about: str
    sentence: str
    evidence: tuple[Any, ...] = ()


@dataclass
class History:
    """`files` holds one list of events for each process and life, named as the file would be."""

    run: dict[str, Any]
    files: dict[str, list[Event]]
    audit: list[Row] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    workers: list[Row] = field(default_factory=list)
    coordinators: list[Row] = field(default_factory=list)
    schedules: list[Row] = field(default_factory=list)
    slots: list[Row] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # what the reader did not find, or could not read

    @cached_property
    def events(self) -> dict[str, list[Event]]:
        """By kind, each in the order of time."""
        found: dict[str, list[Event]] = defaultdict(list)
        for lines in self.files.values():
            for line in lines:
                found[line["event"]].append(line)
        for lines in found.values():
            lines.sort(key=lambda line: int(line["t"]))
        return found

    def of(self, *kinds: str) -> list[Event]:
        found = [line for kind in kinds for line in self.events.get(kind, ())]
        return found if len(kinds) == 1 else sorted(found, key=lambda line: int(line["t"]))

    @cached_property
    def changes(self) -> dict[int, list[Row]]:
        """Of each task, in order."""
        found: dict[int, list[Row]] = defaultdict(list)
        for row in self.audit:
            if row["table"] == "tasks":
                found[row["key"]].append(row)
        return found

    @cached_property
    def rows(self) -> dict[int, Row]:
        return {row["id"]: row for row in self.tasks}

    @cached_property
    def names(self) -> dict[int, str]:
        """Session → its node."""
        return {row["session_id"]: row["name"] for row in self.workers}

    @cached_property
    def clock(self) -> Clock:
        return Clock(self.of("clock"))

    @property
    def terms(self) -> dict[str, float]:
        return dict(self.run["terms"])

    @property
    def expect(self) -> dict[str, Any]:
        return dict(self.run["expect"])

    def at(self, row: Row) -> int:
        """When an audited change took place, in nanoseconds of the events' clock."""
        return self.clock.monotonic(row["at"])


class Clock:
    """Maps the database's time to that of the events, by samples of both."""

    def __init__(self, samples: Iterable[Event]) -> None:
        pairs = sorted((float(one["database"]), int(one["t"])) for one in samples)
        self._databases, self._times = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        offsets = [time / SECOND - database for database, time in pairs]
        self.stepped = bool(offsets) and max(offsets) - min(offsets) > 0.5  # then no mapping is sure

    def monotonic(self, database: float) -> int:
        """By the nearest sample."""
        place = min(bisect_left(self._databases, database), len(self._databases) - 1)
        if place and database - self._databases[place - 1] < abs(self._databases[place] - database):
            place -= 1
        return self._times[place] + round((database - self._databases[place]) * SECOND)


def leaves(row: Row) -> bool:
    """Whether an attempt ends here."""
    return row["old_state"] in HELD and row["new_state"] is not None and row["new_state"] not in HELD


def assigns(row: Row) -> bool:
    return bool(row["old_state"] == "queued" and row["new_state"] == "assigned")


def ends(history: History) -> dict[tuple[int, int], Row]:
    """(task, attempt) → the change that ended the attempt."""
    return {(row["key"], row["attempt"]): row for rows in history.changes.values() for row in rows if leaves(row)}


def gives(history: History) -> dict[tuple[int, int], Row]:
    """(task, attempt) → the change that assigned it."""
    return {(row["key"], row["attempt"]): row for rows in history.changes.values() for row in rows if assigns(row)}
