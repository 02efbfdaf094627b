"""How much may wait in a queue: beyond it submissions are refused, so that a flood is told, not stored."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import trio

from actors.model.errors import QueueFull, StorageError
from actors.model.ports import FullQueues, TaskStore
from actors.model.task import NewTask
from actors.runtime.periodic import pause

log = logging.getLogger(__name__)

QUEUE_LIMIT = 1_000_000  # tasks that may wait in one queue
LOOK_EVERY = 5.0  # seconds: so much may come in beyond the limit


class Backlog:
    """The actor looks now and then; `check` answers at once from what it saw last."""

    def __init__(self, store: TaskStore, *, limit: int = QUEUE_LIMIT, period: float = LOOK_EVERY) -> None:
        self._store, self._limit, self._period = store, limit, period
        self._full = FullQueues()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self.look()
            await pause(self._period)

    async def look(self) -> None:
        try:
            found = await self._store.full_queues(self._limit)
        except StorageError as error:
            log.info("how much waits is not known: %s", error)
            return
        if fresh := found.queues - self._full.queues:
            log.error("queues %s are full: %d tasks or more wait in each", sorted(fresh), self._limit)
        self._full = found

    def check(self, tasks: Iterable[NewTask]) -> None:
        """Raises QueueFull for the first task whose queue is full."""
        full = self._full
        if not full.queues:
            return
        for task in tasks:
            queue = full.lanes.get((task.name, task.queue), task.queue)
            if queue in full.queues:
                raise QueueFull(f'queue "{queue}" is full: {self._limit} tasks or more wait in it; try again later')
