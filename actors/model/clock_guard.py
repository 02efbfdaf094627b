"""Against a database clock that jumps ahead: one wrong step would fire a year of slots, then stay silent for a year.

The database's time is compared with a clock of this machine that nobody sets. A jump ahead by more than JUMP stops
the firing until the new time has been read AGREEING times, at least BETWEEN apart, each reading in step with the one
before; or until the old time is back. A jump backwards needs no guard: what is accounted for stays so.
"""

from __future__ import annotations

from datetime import datetime

JUMP = 300.0  # seconds
BETWEEN = 10.0  # seconds between two readings that count
AGREEING = 3
STEP = 2.0  # seconds that two readings in step may differ by: an answer may be late


class ClockGuard:
    """Pure: it is told both clocks."""

    def __init__(self) -> None:
        self._trusted: float | None = None  # database's time less ours, as last believed
        self._doubted = 0.0  # the same, of a time that is not believed yet
        self._counted_at = 0.0  # our time of the last reading that counted
        self._agreed = 0
        self.jump = 0.0  # seconds that the database's clock is ahead of what is believed; 0: it is believed

    @property
    def holds(self) -> bool:
        """Whether nothing may fire for now."""
        return self.jump > 0

    def read(self, database: datetime, steady: float) -> bool:
        """Whether this time of the database is believed. `steady`: seconds of a clock that is never set."""
        offset = database.timestamp() - steady
        if self._trusted is None or offset - self._trusted <= JUMP:
            self._believe(offset)
            return True
        if not self.holds or abs(offset - self._doubted) > STEP:
            self._agreed = 1
            self._counted_at = steady
        elif steady - self._counted_at >= BETWEEN:
            self._agreed += 1
            self._counted_at = steady
        self._doubted, self.jump = offset, offset - self._trusted
        if self._agreed >= AGREEING:
            self._believe(offset)
            return True
        return False

    def _believe(self, offset: float) -> None:
        self._trusted, self._agreed, self.jump = offset, 0, 0.0
