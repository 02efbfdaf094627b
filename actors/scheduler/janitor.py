"""Deletes what retention no longer keeps, and expires what waited too long."""

from __future__ import annotations

import logging
from typing import Any

import trio

from actors.model.errors import StorageError
from actors.model.ports import TaskStore
from actors.runtime.periodic import pause

log = logging.getLogger(__name__)


class Janitor:
    """Works in small batches, so that it never holds up anybody's claim."""

    BATCH = 1_000

    def __init__(self, store: TaskStore, *, period: float = 10.0) -> None:
        self._store, self._period = store, period

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await pause(self._period)
            await self.run_once()

    async def run_once(self) -> int:
        """Returns how many tasks went; stops early when the database is away."""
        gone = 0
        try:
            while (pruned := await self._store.prune(self.BATCH)) == self.BATCH:
                gone += pruned
            return gone + pruned
        except StorageError as error:
            log.warning("retention waits for the database: %s", error)
            return gone
