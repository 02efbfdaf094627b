"""Fires schedules: looks at what is due next, sleeps until then, and lets the store do each step in one transaction.

Any number of these may run over one database. Each fires what the others have not locked; what one leaves behind
when it dies is due still, for any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import trio

from actors.model import zones
from actors.model.clock_guard import BETWEEN, ClockGuard
from actors.model.errors import StorageError, StorageRefused, StorageUnavailable
from actors.model.firing import Firing, Previous, decide
from actors.model.ports import Wakeups
from actors.model.schedule import Health, Schedule
from actors.model.schedule_port import ScheduleStore
from actors.runtime import chance, probe
from actors.runtime.periodic import boottime, wait_hint

log = logging.getLogger(__name__)

POLL = 5.0  # seconds at most until the next look: a hint may be lost
BUSY_POLL = 1.0  # while something waits, is locked by another scheduler, or the database is away
PAUSE = 0.1  # seconds at least between two looks, however many hints come
BATCH = 200  # schedules a transaction
WORK = 2_000  # a transaction stops taking schedules beyond so many nominal times: the node has other things to do
PRUNE_EVERY = 60.0  # seconds
PRUNED = 1_000  # ledger entries at a time

Key = tuple[str, int]  # name and version of a schedule


class Cron:
    """The actor. `health` and `guard` are what others may read."""

    def __init__(
        self, store: ScheduleStore, wakeups: Wakeups, *, steady: Callable[[], float] = boottime, poll: float = POLL
    ) -> None:
        self._store, self._wakeups, self._steady, self._poll = store, wakeups, steady, poll
        self.guard = ClockGuard()
        self.health: Health | None = None  # as last seen
        self.seen_at = float("-inf")  # trio time of that
        self.posted = 0  # tasks
        self._planned: list[Key] = []  # of the last transaction
        self._aside: set[Key] = set()
        self._pruned_at = float("-inf")
        self._retimed = False

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        changes, finals = self._wakeups.subscribe("schedules"), self._wakeups.subscribe("final")
        task_status.started()
        while True:
            wait, waiting = await self.turn()
            await trio.sleep(min(wait, PAUSE))
            if wait > PAUSE:
                await _first_hint([changes, finals] if waiting else [changes], wait - PAUSE)

    async def turn(self) -> tuple[float, bool]:
        """Does what is due. Seconds until the next turn, and whether an end of any task calls for one."""
        try:
            await self._keep_house()
            health = await self._look()
            if health.untimed:
                self._retimed = False
                return 0.0, health.waiting
            if not self.guard.read(health.now, self._steady()):
                self._say_held()
                return min(self._poll, BETWEEN / 2), False
            due = health.next_at is not None and health.next_at <= health.now
            if (due and await self._fire()) or (health.waiting and await self._post_waiting()):
                return 0.0, health.waiting  # there may be more
            if due:  # another scheduler has it
                return chance.uniform(0.5, 1.0) * BUSY_POLL, health.waiting
            return self._until(health, BUSY_POLL if health.waiting else self._poll), health.waiting
        except StorageError as error:
            log.warning("schedules wait for the database: %s", error)
            return chance.uniform(0.5, 1.0) * BUSY_POLL, False

    @property
    def held(self) -> str | None:
        """Why nothing fires; None: it does."""
        if not self.guard.holds:
            return None
        return f"the database's clock jumped ahead by {self.guard.jump:.0f} s: nothing fires until it proves steady"

    def _until(self, health: Health, at_most: float) -> float:
        if health.next_at is None:
            return at_most
        return max(0.0, min(at_most, (health.next_at - health.now).total_seconds()))

    async def _look(self) -> Health:
        self.health = await self._store.look()
        self.seen_at = trio.current_time()
        return self.health

    async def _fire(self) -> bool:
        if probe.armed is not None:
            await probe.armed.reach("cron.before_commit")
        try:
            fired = await self._store.fire(self._plan, limit=BATCH)
        except (StorageUnavailable, StorageRefused):
            raise
        except StorageError as error:
            log.error("schedules are fired one by one: %s", error)
            return await self._fire_each()
        if probe.armed is not None:
            await probe.armed.reach("cron.after_commit")
        self.posted += fired.tasks
        return fired.schedules > 0

    async def _fire_each(self) -> bool:
        """After a transaction that the database refused for what was in it: one bad schedule must stop no other."""
        progress = False
        for key in self._planned:
            try:
                fired = await self._store.fire(partial(self._plan, only=key), limit=BATCH)
            except (StorageUnavailable, StorageRefused):
                raise
            except StorageError as error:
                self._set_aside(key, error)
                continue
            self.posted += fired.tasks
            progress = progress or fired.schedules > 0
        return progress

    def _set_aside(self, key: Key, error: Exception) -> None:
        """Until it is edited, or this actor starts anew. It is overdue meanwhile, and health says so."""
        self._aside.add(key)
        log.error("schedule %s (version %s) can't be fired here: %s", *key, error, exc_info=error)

    async def _post_waiting(self) -> bool:
        posted = await self._store.post_waiting(limit=BATCH)
        self.posted += posted
        return posted > 0

    def _plan(self, now: datetime, due: Sequence[tuple[Schedule, Previous]], only: Key | None = None) -> list[Firing]:
        """Steps for as many as one transaction may take; a schedule that can't be understood stops no other."""
        if not self.guard.read(now, self._steady()):
            return []
        firings: list[Firing] = []
        if only is None:
            self._planned = []
        work = 0
        for schedule, previous in due:
            key = schedule.name, schedule.version
            if key in self._aside or only not in (None, key):
                continue
            try:
                firing = decide(schedule, now, previous)
            except Exception as error:
                self._set_aside(key, error)
                continue
            if only is None:
                self._planned.append(key)
            firings.append(firing)
            work += firing.looked_at
            if work >= WORK:
                break
        return firings

    async def _keep_house(self) -> None:
        if not self._retimed:
            while await self._store.retime(zones.data_version(), limit=BATCH) == BATCH:
                log.info("schedules follow time zone data %s", zones.data_version())
            self._retimed = True
        if trio.current_time() - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = trio.current_time()
            await self._store.prune(PRUNED)

    def _say_held(self) -> None:
        log.warning("schedules: %s", self.held)


async def _first_hint(channels: Sequence[trio.MemoryReceiveChannel[None]], at_most: float) -> None:
    async def wait(channel: trio.MemoryReceiveChannel[None]) -> None:
        await wait_hint(channel, at_most)
        nursery.cancel_scope.cancel("one is enough")

    async with trio.open_nursery() as nursery:
        for channel in channels:
            nursery.start_soon(wait, channel)
