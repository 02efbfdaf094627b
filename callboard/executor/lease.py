"""The executor keeps its node's deadline by itself, in case the node is frozen or gone.

At the deadline everything is told to stop. What doesn't, is ended by the kernel: the process has a timer whose
signal keeps its default effect, so that it ends even while Python code holds the interpreter, and right after
a freeze of the whole machine.

A handler may hold the loop for longer than a lease lasts, while its node goes on renewing. With a shared page
the newest deadline is seen past the loop, by a thread that ends the process in the timer's place; the timer is
then the last resort, for code that holds the interpreter too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import trio

from callboard.errors import CancelReason
from callboard.executor.page import Page
from callboard.executor.pool import Pool

_POLL = 0.02  # seconds, only while the deadline is over and something still runs
_LEAST = 0.001  # seconds; 0 would disarm the timer
LAST_RESORT = 30.0  # seconds for which code may hold the interpreter beyond the deadline that was last read


def boottime() -> float:
    """Seconds that also count while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def arm(after: float | None) -> None:
    """The kernel ends this process after so many seconds; None: not at all."""
    if after is None:
        signal.setitimer(signal.ITIMER_REAL, 0)
    else:
        if threading.current_thread() is threading.main_thread():  # no other may
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(after, _LEAST))


def end_now() -> None:
    """As the timer would."""
    os.kill(os.getpid(), signal.SIGALRM)


class Keeper:
    """One task that sleeps until the deadline and looks whether it has moved; with a page, a thread that does too."""

    def __init__(
        self,
        pool: Pool,
        stop_after: float,
        page: Page | None = None,
        *,
        clock: Callable[[], float] = boottime,
        timer: Callable[[float | None], None] = arm,
    ) -> None:
        self._pool, self._stop_after, self._clock, self._timer = pool, stop_after, clock, timer
        self._page = page
        self._timer_slack = stop_after if page is None else stop_after + LAST_RESORT
        self._begun = threading.Event()  # there is a deadline
        self._at: float | None = None
        self._sleeps_until = 0.0
        self._changed = trio.Event()

    def renew(self, at: float | None) -> None:
        """A Deadline frame came, perhaps long after it was sent."""
        if at is None:
            self._at = None
            self._begun.clear()
            self._stop_all()
            self._timer(None)
            return
        at = self._at = self._newest(at)
        self._begun.set()
        self._pool.refusal = None
        self._timer(at - self._clock() + self._timer_slack)
        if not self._sleeps_until or at < self._sleeps_until:
            self._changed.set()

    def _newest(self, at: float) -> float:
        return at if self._page is None else max(at, self._page.deadline or at)

    def _catch_up(self) -> None:
        """The loop may have stood still while the node renewed."""
        if self._at is not None and self._newest(self._at) > self._at:
            self.renew(self._at)

    def watch(self) -> None:
        """A thread's life: ends the process when the deadline has passed and what runs has not stopped."""
        while True:
            self._begun.wait()
            at = self._at
            if at is None:
                continue
            left = self._newest(at) + self._stop_after - self._clock()
            if left > 0:
                time.sleep(left)
            elif self._at is not None:
                end_now()

    async def run(self) -> None:
        """Until cancelled."""
        if self._page is not None:
            threading.Thread(target=self.watch, name="lease", daemon=True).start()
        while True:
            self._catch_up()
            at = self._at
            left = None if at is None else at - self._clock()
            if left is not None and left <= 0:
                await self._enforce(at)
                continue
            self._changed = trio.Event()
            self._sleeps_until = at or 0.0
            with trio.move_on_after(float("inf") if left is None else left):
                await self._changed.wait()

    async def _enforce(self, at: float | None) -> None:
        """Stops everything; the timer is left running until it has stopped. Returns when the deadline has moved."""
        self._stop_all()
        while self._at == at and not self._pool.is_idle:  # noqa: ASYNC110 (rare, and short)
            await trio.sleep(_POLL)
        if self._at == at:
            self._at = None
            self._begun.clear()
            self._timer(None)

    def _stop_all(self) -> None:
        self._pool.refusal = CancelReason.LEASE
        self._pool.stop_all(CancelReason.LEASE)
