"""What a run leaves to its judge: what clients were told, what handlers did, and which faults were on."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.model.task import NewTask
from tests.simulation.timeline import Timeline

INFINITE = float("inf")


@dataclass(slots=True)
class Execution:
    """One handler at work."""

    task: int
    attempt: int
    key: bytes
    worker: str  # host
    life: str  # name and life of its node
    slots: int  # of the node
    began: float
    process: str = ""
    exclusive: bool = False
    ended: float = INFINITE
    how: str = "unfinished"  # return, raise, snooze, cancelled, killed


@dataclass(slots=True)
class Submission:
    """What a client asked for, and what it was told."""

    number: int  # in the task's arguments
    key: str | None
    task: NewTask
    kind: str
    asked_at: float
    ids: list[int] = field(default_factory=list)  # every answer
    unknown: bool = False  # it gave up without an answer


@dataclass(slots=True)
class CancelAnswer:
    task: int
    asked_at: float
    answered_at: float
    answer: str  # cancelled, cancelling, final, unknown


@dataclass(slots=True)
class Fault:
    kind: str
    target: str
    since: float
    until: float = INFINITE


@dataclass(slots=True)
class Verdict:
    """What a worker was told of an outcome."""

    at: float
    worker: str
    task: int
    attempt: int
    key: bytes
    kind: int
    verdict: int


class History:
    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.executions: list[Execution] = []
        self.submissions: list[Submission] = []
        self.cancels: list[CancelAnswer] = []
        self.faults: list[Fault] = []
        self.verdicts: list[Verdict] = []
        self.crashes: list[str] = []  # of actors: none is expected
        self.stops: list[tuple[str, float, float, float]] = []  # node, asked, ended, limit
        self.deaths: list[tuple[str, float]] = []  # lives of workers, and when they were killed
        self.closed: list[tuple[str, float]] = []  # worker's host, when a coordinator saw its stream end
        self.vouched: dict[str, list[float]] = {}  # life → when FROZEN reached it
        self.quiet_at = INFINITE  # when everything was final

    def begin(self, execution: Execution) -> Execution:
        self.executions.append(execution)
        self._timeline.note("exec start", execution.task, execution.attempt, execution.life)
        return execution

    def end(self, execution: Execution, how: str) -> None:
        if execution.how == "unfinished":
            execution.how, execution.ended = how, self._timeline.now
            self._timeline.note("exec end", execution.task, execution.attempt, execution.life, how)

    def fault(self, kind: str, target: str) -> Fault:
        fault = Fault(kind, target, self._timeline.now)
        self.faults.append(fault)
        self._timeline.note("fault on", kind, target)
        return fault

    def heal(self, fault: Fault) -> None:
        if fault.until == INFINITE:
            fault.until = self._timeline.now
            self._timeline.note("fault off", fault.kind, fault.target)
