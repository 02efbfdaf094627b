"""Tells tasks that wait for others how those ended."""

from __future__ import annotations

import logging
from typing import Any

import trio

from actors.model.errors import StorageError
from actors.model.ports import TaskStore, Wakeups
from actors.runtime.periodic import wait_hint

log = logging.getLogger(__name__)

POLL = 10.0  # seconds: a hint may be lost, and some ends give none
BATCH = 2_000  # edges a statement


class Resolver:
    """The actor. Any number may run over one database: they share the parents that have ended."""

    def __init__(self, store: TaskStore, wakeups: Wakeups, *, poll: float = POLL) -> None:
        self._store, self._wakeups, self._poll = store, wakeups, poll

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        hints = self._wakeups.subscribe("parents")
        task_status.started()
        while True:
            await self.run_once()
            await wait_hint(hints, self._poll)

    async def run_once(self) -> None:
        """Until nobody is left to be told, or the database is away."""
        try:
            while await self._store.resolve(BATCH):
                pass
        except StorageError as error:
            log.warning("dependencies wait for the database: %s", error)
