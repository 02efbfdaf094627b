"""What a judge knows of a run, and what the scenario promised."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from actors.model.lease import LeaseTerms
from tests.simulation.audit import HELD, Change, Ended, Row, SessionChange
from tests.simulation.history import Execution, History


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What a scenario promises beyond what holds always."""

    repeats: bool = True  # attempts may be lost or handed back, so that handlers run again
    crashes: bool = True  # a task may be counted as having lost its worker or its executor
    closes: bool = False  # every worker that was stopped has said goodbye, and was heard
    overlap: bool = True  # two attempts of one task may run at once where the promise allows it
    final_within: float = 45.0  # seconds from the end of the last fault and of the load


@dataclass(slots=True)
class Facts:
    """All that is known of a run."""

    history: History
    terms: LeaseTerms
    changes: list[Change]
    sessions: list[SessionChange]
    ended: list[Ended]
    rows: dict[int, Row]
    expect: Expect
    leaks: list[str] = field(default_factory=list)  # what nodes still held though everything was final
    all_final: bool = True
    by_task: dict[int, list[Change]] = field(init=False)
    runs: dict[int, list[Execution]] = field(init=False)
    claims: dict[tuple[int, int], Change] = field(init=False)  # (task, attempt) → the assignment
    solo: set[tuple[int, int]] = field(init=False)  # (task, attempt) that ran in executors of their own

    def __post_init__(self) -> None:
        self.by_task, self.runs = defaultdict(list), defaultdict(list)
        for change in self.changes:
            self.by_task[change.task].append(change)
        for execution in self.history.executions:
            self.runs[execution.task].append(execution)
        alone = {row.id for row in self.rows.values() if row.name == "alone"}
        self.claims = {(one.task, one.new.attempt): one for one in self.changes if is_claim(one)}
        self.solo = {key for key, one in self.claims.items() if one.new.crashes >= 2 or one.task in alone}

    def end_of(self, task: int, attempt: int, key: bytes | None) -> Change | None:
        """The change by which this attempt ended in the table."""
        for change in self.by_task[task]:
            old, held = change.old, change.new.state in HELD
            if old is not None and old.state in HELD and (old.attempt, old.key) == (attempt, key) and not held:
                return change
        return None


def is_claim(change: Change) -> bool:
    return change.old is not None and change.old.state == "queued" and change.new.state == "assigned"
