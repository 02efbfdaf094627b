"""Keeps the database's idea of how many tasks there are from being badly out of date.

PostgreSQL looks once a minute. A table that was empty when it looked and has filled since would be read whole, again
and again, by plans that are right for an empty one.
"""

from __future__ import annotations

import logging
from typing import Any

import trio

from actors.model.errors import StorageError
from actors.model.ports import TaskStore, Wakeups
from actors.runtime.periodic import pause, wait_hint

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0  # seconds, while tasks come in
LONGEST = 60.0  # seconds without a hint: one may be lost


class Statistics:
    """The actor. Any number may run over one database."""

    def __init__(self, store: TaskStore, wakeups: Wakeups, *, period: float = LOOK_EVERY) -> None:
        self._store, self._wakeups, self._period = store, wakeups, period

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        hints = self._wakeups.subscribe("due")
        task_status.started()
        while True:
            await wait_hint(hints, LONGEST)
            await pause(self._period)
            try:
                await self._store.refresh_statistics()
            except StorageError as error:
                log.info("statistics wait for the database: %s", error)
