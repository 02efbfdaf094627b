"""The store in memory under a clock that can be set, and the account of everything that it went through."""

from __future__ import annotations

import json
from typing import cast

import trio

from actors.model.ports import DispatchStore, TaskStore
from storage.memory.dispatch import MemoryDispatch
from storage.memory.rows import OPEN, SessionRow, TaskRow
from storage.memory.store import MemoryTaskStore
from storage.memory.tables import Changes, Tables
from storage.memory.wakeups import MemoryWakeups
from tests.simulation.audit import Change, Ended, Look, Row, SessionChange
from tests.simulation.database import doing
from tests.simulation.dice import Dice

EPOCH = 1_800_000_000.0  # seconds: the database's clock when a run begins


class Watched(Tables):
    """Tables that keep what changed, when, and by which statement."""

    ahead = 0.0  # seconds by which the clock is ahead of the world's

    def __init__(self, chance: Dice) -> None:
        super().__init__(lambda: EPOCH + trio.current_time() + self.ahead, chance, str)
        self.changes: list[Change] = []
        self.session_changes: list[SessionChange] = []

    def apply(self, changes: Changes) -> None:
        before = {number: self.tasks.get(number) for number in changes.tasks}
        sessions = {number: self.sessions.get(number) for number in changes.sessions}
        super().apply(changes)
        at, cause = trio.current_time(), doing.get()
        for number, old in before.items():
            new = self.tasks[number]
            looks = (None if old is None else look(old)), look(new)
            if looks[0] != looks[1]:
                self.changes.append(Change(at, cause, number, *looks))
        for number, former in sessions.items():
            self._note_session(at, cause, former, self.sessions[number])

    def _note_session(self, at: float, cause: str, old: SessionRow | None, new: SessionRow) -> None:
        state = None if old is None else old.state
        if state != new.state:
            self.session_changes.append(SessionChange(at, cause, new.session_id, new.worker, state, new.state))


def look(task: TaskRow) -> Look:
    return Look(
        task.state, task.attempt, task.lease_key, task.session_id, task.tries, task.crashes, task.undelivered,
        task.snoozes, task.cancel_requested_at is not None,
    )  # fmt: skip


class Backing:
    """What stands behind the simulated database."""

    def __init__(self, dice: Dice) -> None:
        self.tables = Watched(dice)
        self.wakeups = MemoryWakeups()
        self._tasks = MemoryTaskStore(self.tables, self.wakeups)
        self._dispatch = MemoryDispatch(self.tables, self.wakeups, None)

    @property
    def dispatch(self) -> DispatchStore:
        return self._dispatch

    @property
    def tasks(self) -> TaskStore:
        return cast("TaskStore", self._tasks)

    def restart(self) -> None:
        self.tables.server_started = self.tables.now()

    def step(self, by: float) -> None:
        """Its clock is set by so many seconds."""
        self.tables.ahead += by

    async def wish(self, worker: str, *, paused: bool | None = None, drain: bool | None = None) -> None:
        """What an operator asks for, if the worker is still there."""
        if worker in self.live_sessions():
            await self.tasks.set_worker(worker, paused=paused, drain=drain)

    # --- for judges -----------------------------------------------------------------------------------

    def all_final(self) -> bool:
        return not self.tables.unfinished

    def live_sessions(self) -> list[str]:
        return [row.worker for row in self.tables.sessions.values() if row.state in OPEN]

    def rows(self) -> dict[int, Row]:
        keys = {key.task_id: key.key for key in self.tables.keys.values()}
        return {task.id: self._row(task, keys.get(task.id)) for task in self.tables.tasks.values()}

    def _row(self, task: TaskRow, key: str | None) -> Row:
        result = None if task.result is None else json.loads(task.result)
        return Row(task.id, self.tables.lanes[task.lane_id].name, look(task), json.loads(task.args), result, key)

    def ended(self) -> list[Ended]:
        """Attempts that ended otherwise than with success."""
        return [
            Ended(row.task_id, row.attempt, row.lease_key, row.outcome, row.accepted)
            for rows in self.tables.attempts.values()
            for row in rows
        ]
