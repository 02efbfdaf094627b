"""The executor keeps its node's deadline by itself, in case the node is frozen or gone.

At the deadline everything is told to stop. What doesn't, is ended by the kernel: the process has a timer whose
signal keeps its default effect, so that it ends even while Python code holds the interpreter, and right after
a freeze of the whole machine.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import trio

from callboard.errors import CancelReason
from callboard.executor.pool import Pool

_POLL = 0.02  # seconds, only while the deadline is over and something still runs
_LEAST = 0.001  # seconds; 0 would disarm the timer


def boottime() -> float:
    """Seconds that also count while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def arm(after: float | None) -> None:
    """The kernel ends this process after so many seconds; None: not at all."""
    if after is None:
        signal.setitimer(signal.ITIMER_REAL, 0)
    else:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(after, _LEAST))


class Keeper:
    """One task that sleeps until the deadline and looks whether it has moved."""

    def __init__(
        self,
        pool: Pool,
        stop_after: float,
        *,
        clock: Callable[[], float] = boottime,
        timer: Callable[[float | None], None] = arm,
    ) -> None:
        self._pool, self._stop_after, self._clock, self._timer = pool, stop_after, clock, timer
        self._at: float | None = None
        self._sleeps_until = 0.0
        self._changed = trio.Event()

    def renew(self, at: float | None) -> None:
        """A Deadline frame came."""
        self._at = at
        if at is None:
            self._stop_all()
            self._timer(None)
            return
        self._pool.refusal = None
        self._timer(at - self._clock() + self._stop_after)
        if not self._sleeps_until or at < self._sleeps_until:
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
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
            self._timer(None)

    def _stop_all(self) -> None:
        self._pool.refusal = CancelReason.LEASE
        self._pool.stop_all(CancelReason.LEASE)
