"""The tables, their clock and their indexes; a statement's changes come in together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from actors.model.errors import BadValue
from actors.model.lane import LaneKey
from actors.model.task import DEFAULT_QUEUE
from actors.runtime.chance import Chance
from storage.memory import audit, legality, values
from storage.memory.rows import HELD, AttemptRow, CoordinatorRow, HandlerRow, KeyRow, LaneRow, SessionRow, TaskRow
from storage.memory.values import boolean, jsonb, later, member

CRASH_WINDOW = 72 * 3600.0  # seconds within which lost workers and executors make a task poison


@dataclass(slots=True)
class Changes:
    """What a statement is about to do. None in place of a row: it goes."""

    tasks: dict[int, TaskRow | None] = field(default_factory=dict)
    attempts: list[AttemptRow] = field(default_factory=list)  # new ones
    sessions: dict[int, SessionRow | None] = field(default_factory=dict)
    coordinators: dict[str, CoordinatorRow | None] = field(default_factory=dict)
    handlers: dict[str, HandlerRow] = field(default_factory=dict)
    keys: dict[str, KeyRow | None] = field(default_factory=dict)


class Tables:
    """Everything that is stored. Read as you like; change by `apply` only."""

    def __init__(self, clock: Callable[[], float], chance: Chance, actor: Callable[[], str]) -> None:
        self._clock, self._chance, self._actor = clock, chance, actor
        self.tasks: dict[int, TaskRow] = {}
        self.attempts: dict[int, list[AttemptRow]] = {}  # of each task, in the order in which they were written
        self.sessions: dict[int, SessionRow] = {}
        self.coordinators: dict[str, CoordinatorRow] = {}
        self.handlers: dict[str, HandlerRow] = {}
        self.lanes: dict[int, LaneRow] = {}
        self.keys: dict[str, KeyRow] = {}
        self.audit: list[audit.AuditRow] = []
        self.server_started = self.now()
        self.timeline = 1
        self.unfinished: dict[int, None] = {}
        self._queued: dict[int, dict[int, None]] = {}  # lane → tasks
        self._held: dict[int, dict[int, None]] = {}  # session → tasks
        self._lane_ids: dict[LaneKey, int] = {}
        self._last = {"task": 0, "attempt": 0, "session": 0, "txid": 0}

    def now(self) -> datetime:
        """Database time."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def next_id(self, kind: str) -> int:
        """Rises by one; what was drawn and not used is not drawn again."""
        self._last[kind] += 1
        return self._last[kind]

    @property
    def position(self) -> int:
        """How much was written; rises with each statement that writes."""
        return self._last["txid"]

    # --- reading ----------------------------------------------------------------------------------

    def queued(self, lane: int) -> Iterator[TaskRow]:
        """In no order that means anything, but always in the same."""
        return (self.tasks[task] for task in self._queued.get(lane, ()))

    def held(self, session: int) -> list[TaskRow]:
        """By id."""
        return [self.tasks[task] for task in sorted(self._held.get(session, ()))]

    def holds(self, session: int) -> bool:
        return bool(self._held.get(session))

    def lane(self, key: LaneKey) -> int:
        """The number of a kind of tasks; a new one is added, which no failure of a statement takes back."""
        number = self._lane_ids.get(key)
        if number is None:
            number = self._lane_ids[key] = len(self.lanes) + 1
            self.lanes[number] = LaneRow(id=number, **key._asdict())
        return number

    def handler(self, task: TaskRow) -> HandlerRow | None:
        return self.handlers.get(self.lanes[task.lane_id].name)

    def queue(self, lane: LaneRow) -> str:
        """The effective one."""
        handler = self.handlers.get(lane.name)
        declared = handler.queue if lane.queue is None and handler is not None else lane.queue
        return DEFAULT_QUEUE if declared is None else declared

    def max_tries(self, task: TaskRow, default: int) -> int:
        handler = self.handler(task)
        return task.max_tries or (handler and handler.max_tries) or default

    def timeout(self, task: TaskRow) -> float | None:
        handler = self.handler(task)
        return task.timeout if task.timeout is not None or handler is None else handler.timeout

    def recent_crashes(self, task: int, now: datetime) -> int:
        """callboard_recent_crashes."""
        since = later(now, -CRASH_WINDOW)
        return sum(
            one.accepted and one.outcome in ("crashed", "lost") and one.ended_at > since
            for one in self.attempts.get(task, ())
        )

    def backoff(self, task: TaskRow, tries: int) -> float:
        """callboard_backoff: seconds to wait after so many used tries."""
        handler = self.handler(task)
        text = task.backoff if task.backoff is not None or handler is None else handler.backoff
        given = None if text is None else jsonb(text)
        base, cap, jitter = member(given, "base"), member(given, "cap"), member(given, "jitter")
        factor = 1.0 if member(given, "kind") == "fixed" else 2.0 ** min(tries - 1, 62)
        wait = min(
            3600.0 if cap is None else values.number(cap), (1.0 if base is None else values.number(base)) * factor
        )
        return wait * self._chance.uniform(0.0, 1.0) if jitter is None or boolean(jitter) else wait

    # --- changing ---------------------------------------------------------------------------------

    def apply(self, changes: Changes) -> None:
        """All of it, or, with BadValue or IllegalChange, nothing."""
        self._check(changes)
        txid, at = self.next_id("txid"), self.now().timestamp()
        for told in self._tell(changes):
            self.audit.append(audit.AuditRow(id=len(self.audit) + 1, txid=txid, at=at, actor=self._actor(), **told))
        for number, task in changes.tasks.items():
            self._put_task(number, task)
        for attempt in changes.attempts:
            self.attempts.setdefault(attempt.task_id, []).append(attempt)
        _merge(self.sessions, changes.sessions)
        _merge(self.coordinators, changes.coordinators)
        _merge(self.keys, changes.keys)
        self.handlers.update(changes.handlers)

    def _check(self, changes: Changes) -> None:
        for number, task in changes.tasks.items():
            if task is not None:
                old = self.tasks.get(number)
                if old is not None:
                    legality.check_change(old, task)
                legality.check_task(task)
        for session in changes.sessions.values():
            if session is not None:
                legality.check_session(session)
        for handler in changes.handlers.values():
            if handler.timeout is not None and not handler.timeout > 0:
                raise BadValue("value", "timeout must be above 0")
            if handler.max_tries is not None and not 1 <= handler.max_tries <= 1000:
                raise BadValue("value", "max_tries must be from 1 to 1000")

    def _tell(self, changes: Changes) -> Iterator[dict[str, Any]]:
        found = [audit.of_task(self.tasks.get(number), task) for number, task in changes.tasks.items()]
        found += [audit.of_session(self.sessions.get(number), one) for number, one in changes.sessions.items()]
        found += [
            audit.of_coordinator(name in self.coordinators, row is not None, name)
            for name, row in changes.coordinators.items()
        ]
        return (told for told in found if told is not None)

    def _put_task(self, number: int, task: TaskRow | None) -> None:
        old = self.tasks.get(number)
        if old is not None and old.state == "queued":
            del self._queued[old.lane_id][number]
        elif old is not None and old.state in HELD and old.session_id is not None:
            del self._held[old.session_id][number]
        if task is None:
            self.tasks.pop(number, None)
            self.attempts.pop(number, None)
        else:
            self.tasks[number] = task
            if task.state == "queued":
                self._queued.setdefault(task.lane_id, {})[number] = None
            elif task.state in HELD and task.session_id is not None:
                self._held.setdefault(task.session_id, {})[number] = None
        if task is None or task.finished_at is not None:
            self.unfinished.pop(number, None)
        else:
            self.unfinished[number] = None


def _merge(table: dict[Any, Any], changes: dict[Any, Any]) -> None:
    for key, row in changes.items():
        if row is None:
            table.pop(key, None)
        else:
            table[key] = row
