"""A task at which every claim fails must not keep all others from being claimed. Pure.

After a few failures the dispatcher claims one task of one lane at a time for a while: so it finds the task at fault,
and sets it aside. A mistake of ours that fails at every task must not empty the queues into quarantine, so only a few
are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FAILURES, WITHIN = 3, 60.0  # claims that fail within so many seconds, before the fault is looked for
SEARCH = 30.0  # seconds of it: what a claim had got when it failed comes back only when nobody acknowledges it
MOST, PERIOD = 10, 3_600.0  # tasks that may be set aside within so many seconds


@dataclass(slots=True)
class Faults:
    """What the claims of one coordinator have met. Times are seconds of one clock."""

    _failures: deque[float] = field(default_factory=lambda: deque[float](maxlen=FAILURES))
    _search_until: float = -1e9
    _set_aside: deque[float] = field(default_factory=lambda: deque[float](maxlen=MOST))

    def searching(self, now: float) -> bool:
        """Whether to claim one task of one lane at a time."""
        return now < self._search_until

    def failed(self, now: float) -> None:
        """A claim failed for no reason of the database's. Claims between may succeed."""
        self._failures.append(now)
        if len(self._failures) == FAILURES and now - self._failures[0] <= WITHIN:
            self._failures.clear()
            self._search_until = now + SEARCH

    def may_set_aside(self, now: float) -> bool:
        return len(self._set_aside) < MOST or now - self._set_aside[0] > PERIOD

    def found(self, now: float) -> None:
        """The task at fault was set aside."""
        self._set_aside.append(now)
        self._failures.clear()
        self._search_until = now
