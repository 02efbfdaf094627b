"""One actor for all requests that wait for a task: one statement asks for all of them.

It wakes on the hint "final" and polls each second while anybody waits; when nobody waits it does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from actors.model.errors import StorageError
from actors.model.ports import TaskStore, Wakeups
from actors.runtime.periodic import wait_hint
from api.http.problems import Problem

log = logging.getLogger(__name__)

POLL = 1.0  # seconds
SPACING = 0.01  # seconds between two questions: hints come at the rate of commits
ASKED = 1_000  # ids in one statement
CAPACITY = 2_000  # requests that may wait at once on this node


class Waiters:
    """Who waits for which task."""

    def __init__(self, store: TaskStore, wakeups: Wakeups, stopping: trio.Event) -> None:
        self._store, self._wakeups, self._stopping = store, wakeups, stopping
        self._waiting: dict[int, list[trio.Event]] = {}
        self._somebody = trio.Event()
        self.count = 0

    @contextmanager
    def waiting_for(self, task_id: int) -> Iterator[trio.Event]:
        """An event that is set once the task is final; enter before reading the task, so that nothing is missed.

        Raises Problem 429 when too many wait already.
        """
        if self.count >= CAPACITY:
            raise Problem(
                status=429,
                code="too_many_waiting",
                detail=f"{CAPACITY} requests wait on this node already: ask without wait, and again later",
                headers={"Retry-After": "5"},
            )
        event = trio.Event()
        self._waiting.setdefault(task_id, []).append(event)
        self.count += 1
        self._somebody.set()
        try:
            yield event
        finally:
            self.count -= 1
            events = self._waiting.get(task_id, [])
            if event in events:
                events.remove(event)
            if not events:
                self._waiting.pop(task_id, None)

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        hints = self._wakeups.subscribe("final")
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._release_on_stop)
            while True:
                if not self._waiting:
                    self._somebody = trio.Event()
                    await self._somebody.wait()
                await self.run_once()
                await trio.sleep(SPACING)
                if self._waiting:
                    await wait_hint(hints, POLL)

    async def run_once(self) -> None:
        """Asks for everybody, and wakes those whose task is final."""
        ids = list(self._waiting)
        try:
            for start in range(0, len(ids), ASKED):
                for task_id in await self._store.final_among(ids[start : start + ASKED]):
                    self._wake(task_id)
        except StorageError as error:
            log.info("waiting requests go on waiting: %s", error)

    def _wake(self, task_id: int) -> None:
        for event in self._waiting.pop(task_id, ()):
            event.set()

    async def _release_on_stop(self) -> None:
        await self._stopping.wait()
        for task_id in list(self._waiting):
            self._wake(task_id)
