"""What runs here, and the outcomes that nobody has acknowledged yet."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

from actors.model.columns import EXCLUSIVE, Assignment, Outcome, Outcomes, Verdict
from actors.model.link import Committed, Report
from actors.model.worker import Held
from actors.runtime import probe
from actors.worker.spread import partition

MAX_REPORT_BYTES = 64 * 1024  # of bodies in one report, so that heartbeats pass; a larger one is a report of its own
SEEN_CLAIMS = 512  # claims whose repeats are recognised, also when their tasks have ended meanwhile

# What may be unacknowledged before nothing new is taken. A commit on its way is no backlog: the smaller number
# counts once the oldest has waited for a while.
MANY, LIMIT, BYTES, A_WHILE = 1_000, 20_000, 64 * 1024 * 1024, 1.0


@dataclass(slots=True)
class Taken:
    """What becomes of an assignment. What is in neither part was assigned before, and goes on."""

    start: Assignment | None = None
    refuse: Assignment | None = None
    why: str = ""


class Ledger:
    """Bounded by the slots and the prefetch that the coordinator grants: only what was assigned can end."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, bytes]] = {}  # task → attempt, lease key
        self._exclusive: set[int] = set()  # of them
        self._begun: dict[int, Held] = {}  # of them: reported as started
        self._seen: OrderedDict[bytes, array[int]] = OrderedDict()  # claim → tasks
        self._reports: dict[int, Report] = {}  # in the order of their numbers
        self._made_at: dict[int, float] = {}
        self._sequence = 0
        self.unacknowledged = 0
        self.unacknowledged_bytes = 0
        self.epoch = 0
        self.counts = dict.fromkeys(Verdict, 0)

    @property
    def running(self) -> int:
        return len(self._running)

    def is_full(self, slots: int, now: float) -> bool:
        """Whether so much is unacknowledged that nothing new may be taken."""
        if self.unacknowledged > LIMIT or self.unacknowledged_bytes > BYTES:
            return True
        return self.unacknowledged > MANY + slots and now - next(iter(self._made_at.values()), now) > A_WHILE

    def take(self, assignment: Assignment) -> Taken:
        """Books what may start. Repeats never start again; a task of which an attempt still runs must wait."""
        if assignment.epoch < self.epoch:
            return Taken(refuse=assignment, why=f"epoch {assignment.epoch} is over: this session is in {self.epoch}")
        taken = self._sift(assignment)
        if taken.start is not None:
            start = taken.start
            self._running.update(zip(start.ids, zip(start.attempts, repeat(start.lease_key)), strict=False))
            if any(start.flags):
                flagged = zip(start.ids, start.flags, strict=True)
                self._exclusive.update(task for task, flags in flagged if flags & EXCLUSIVE)
        return taken

    def _sift(self, assignment: Assignment) -> Taken:
        key, ids = assignment.lease_key, array("q", assignment.ids)
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = ids
            if len(self._seen) > SEEN_CLAIMS:
                self._seen.popitem(last=False)
            if self._running.keys().isdisjoint(assignment.ids):
                return Taken(assignment)
            fresh: Assignment | None = assignment
        else:  # a claim comes in several parts when it is large; otherwise this is a repeat
            known = set(seen)
            seen.extend(task for task in ids if task not in known)
            _, fresh = partition(assignment, [place for place, task in enumerate(ids) if task in known])
        if fresh is None:
            return Taken()
        busy = [place for place, task in enumerate(fresh.ids) if task in self._running]
        refuse, start = partition(fresh, busy)
        return Taken(start, refuse, "an earlier attempt of this task has not left yet")

    def finish(self, outcomes: Outcomes, now: float = 0.0) -> list[Report]:
        """Moves attempts from running to unacknowledged; the reports to send."""
        running = self._running
        for task, attempt, which in zip(outcomes.ids, outcomes.attempts, outcomes.key_index, strict=True):
            held = running.get(task)
            if held is not None and held == (attempt, outcomes.keys[which]):
                del running[task]
                if self._exclusive:
                    self._exclusive.discard(task)
                if self._begun:
                    self._begun.pop(task, None)
        made = []
        for part in split(outcomes, MAX_REPORT_BYTES):
            self._sequence += 1
            report = self._reports[self._sequence] = Report(self._sequence, part)
            self._made_at[self._sequence] = now
            self.unacknowledged += len(part)
            self.unacknowledged_bytes += len(part.bodies)
            made.append(report)
        return made

    def begin(self, attempts: Iterable[Held]) -> list[Held]:
        """Books starts; those that still run."""
        found = [one for one in attempts if self._running.get(one.task_id) == (one.attempt, one.lease_key)]
        self._begun.update((one.task_id, one) for one in found)
        return found

    def begun(self) -> list[Held]:
        return list(self._begun.values())

    def settle(self, committed: Committed) -> int:
        """Forgets a report that was committed; how many of its outcomes were refused."""
        report = self._reports.pop(committed.sequence, None)
        if report is None:
            return 0
        del self._made_at[committed.sequence]
        self.unacknowledged -= len(report.outcomes)
        self.unacknowledged_bytes -= len(report.outcomes.bodies)
        verdicts = list(committed.verdicts)
        if probe.armed is not None:
            _tell_probe(report.outcomes, verdicts)
        for verdict in Verdict:
            self.counts[verdict] += verdicts.count(verdict)
        return verdicts.count(Verdict.FENCED)

    def open_reports(self) -> list[Report]:
        return list(self._reports.values())

    def holds(self, task: int) -> Held | None:
        found = self._running.get(task)
        return None if found is None else Held(task, *found)

    def attempts(self) -> list[Held]:
        """Running and unacknowledged: what a resumed session must still be allowed to report."""
        found = [Held(task, attempt, key) for task, (attempt, key) in self._running.items()]
        for report in self._reports.values():
            columns = report.outcomes
            found += [
                Held(task, attempt, columns.keys[which])
                for task, attempt, which in zip(columns.ids, columns.attempts, columns.key_index, strict=True)
            ]
        return found

    def still(self, attempts: Iterable[Held]) -> list[int]:
        """Those of the attempts that run here, as task ids."""
        return [one.task_id for one in attempts if self._running.get(one.task_id) == (one.attempt, one.lease_key)]

    def exclusive_ids(self) -> list[int]:
        return list(self._exclusive)

    def running_ids(self) -> list[int]:
        return list(self._running)


def _tell_probe(outcomes: Outcomes, verdicts: list[Verdict]) -> None:
    assert probe.armed is not None
    keys = [outcomes.keys[which].hex() for which in outcomes.key_index]
    for task, attempt, key, kind, verdict in zip(
        outcomes.ids, outcomes.attempts, keys, outcomes.kinds, verdicts, strict=True
    ):
        probe.armed.note(
            "verdict",
            task=task,
            attempt=attempt,
            key=key,
            kind=Outcome(kind).name.lower(),
            verdict=verdict.name.lower(),
        )


def split(outcomes: Outcomes, limit: int) -> list[Outcomes]:
    """Cuts columns into parts of at most `limit` bytes of bodies; an outcome of more is a part of its own."""
    if len(outcomes.bodies) <= limit:
        return [outcomes]
    parts: list[Outcomes] = []
    start, begin, size, offset = 0, 0, 0, 0
    for index, length in enumerate([*outcomes.sizes, limit + 1]):
        if index > start and size + length > limit:
            parts.append(
                Outcomes(
                    outcomes.keys,
                    outcomes.key_index[start:index],
                    outcomes.ids[start:index],
                    outcomes.attempts[start:index],
                    outcomes.kinds[start:index],
                    outcomes.sizes[start:index],
                    outcomes.bodies[begin:offset],
                )
            )
            start, begin, size = index, offset, 0
        size += length
        offset += length
    return parts
