"""Looks after what runs and waits: reports starts, passes progress on, hands back what found no slot.

Sleeps without a timer while there is nothing to look after.
"""

from __future__ import annotations

import time

import trio

from callboard.executor.attempt import Attempt
from callboard.executor.frames import Started
from callboard.executor.outbox import Outbox
from callboard.executor.pool import Pool

TICK = 0.025  # seconds; a start is reported at the second tick that sees it
PROGRESS_EVERY = 0.1  # seconds between two values of one attempt


class Watch:
    """One task."""

    def __init__(self, pool: Pool, outbox: Outbox, start_limit: float) -> None:
        self._pool, self._outbox, self._start_limit = pool, outbox, start_limit
        self._seen: set[Attempt] = set()  # ran at the last tick, not yet reported
        self._news: set[Attempt] = set()  # have progress to send; at most one entry an attempt
        self._parked = trio.lowlevel.ParkingLot()
        self._worst = 0.0
        pool.on_work = self.wake

    def wake(self) -> None:
        if self._parked:
            self._parked.unpark()

    def note_progress(self, attempt: Attempt) -> None:
        """On Trio's thread."""
        if not attempt.ended:
            self._news.add(attempt)
            self.wake()

    def lag(self) -> float:
        """Seconds by which the loop was late at worst since this was asked last."""
        worst, self._worst = self._worst, 0.0
        return worst

    def note_lag(self, late: float) -> None:
        self._worst = max(self._worst, late)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._has_work():
                await self._parked.park()
            due = trio.current_time() + TICK
            await trio.sleep_until(due)
            self.note_lag(trio.current_time() - due)
            self.run_once()

    def _has_work(self) -> bool:
        return bool(self._pool.queue or self._news or self._unreported())

    def _unreported(self) -> set[Attempt]:
        running = (runner.current for runner in self._pool.runners)
        return {attempt for attempt in running if attempt is not None and not attempt.announced}

    def run_once(self) -> None:
        running = self._unreported()
        started = running & self._seen
        if started:
            for attempt in started:
                attempt.announced = True
            self._outbox.put(Started([attempt.id for attempt in started]))
        self._seen = running - started
        self._pool.release_late(self._start_limit)
        self._send_progress(time.monotonic())

    def _send_progress(self, now: float) -> None:
        due = [one for one in self._news if one.ended or one.progress_sent_at + PROGRESS_EVERY <= now]
        self._news.difference_update(due)
        for attempt in due:
            if not attempt.ended:
                attempt.progress_sent_at = now
                self._outbox.put_progress(attempt)
