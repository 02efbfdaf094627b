"""What runs here, and the outcomes that nobody has acknowledged yet."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

from actors.model.columns import Assignment, Outcomes, Verdict
from actors.model.link import Committed, Report
from actors.model.worker import Held

MAX_REPORT_BYTES = 64 * 1024  # of bodies in one report, so that heartbeats pass; a larger one is a report of its own


class Ledger:
    """Bounded by the slots and the prefetch that the coordinator grants: only what was assigned can end."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, bytes]] = {}  # task → attempt, lease key
        self._reports: dict[int, Report] = {}  # in the order of their numbers
        self._sequence = 0
        self.epoch = 0
        self.counts = dict.fromkeys(Verdict, 0)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def unacknowledged(self) -> int:
        return sum(len(report.outcomes) for report in self._reports.values())

    def take(self, assignment: Assignment) -> bool:
        """Books an assignment; False for a repeat or one of a superseded epoch, which must not start."""
        if assignment.epoch < self.epoch:
            return False
        first = assignment.ids[0]
        if self._running.get(first) == (assignment.attempts[0], assignment.lease_key):
            return False
        self._running.update(zip(assignment.ids, zip(assignment.attempts, repeat(assignment.lease_key)), strict=False))
        return True

    def finish(self, outcomes: Outcomes) -> list[Report]:
        """Moves attempts from running to unacknowledged; the reports to send."""
        for task, attempt, which in zip(outcomes.ids, outcomes.attempts, outcomes.key_index, strict=True):
            held = self._running.get(task)
            if held is not None and held == (attempt, outcomes.keys[which]):
                del self._running[task]
        made = []
        for part in split(outcomes, MAX_REPORT_BYTES):
            self._sequence += 1
            report = self._reports[self._sequence] = Report(self._sequence, part)
            made.append(report)
        return made

    def settle(self, committed: Committed) -> int:
        """Forgets a report that was committed; how many of its outcomes were refused."""
        if self._reports.pop(committed.sequence, None) is None:
            return 0
        for verdict in Verdict:
            self.counts[verdict] += list(committed.verdicts).count(verdict)
        return list(committed.verdicts).count(Verdict.FENCED)

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

    def running_ids(self) -> list[int]:
        return list(self._running)


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
