"""Commits that the database acknowledged and does not have any more. Pure.

An asynchronous failover, or a restored backup, may lose the last commits. That can't be prevented here; it is noticed,
because a position of the log that an acknowledged commit had reached is then ahead of where the log is.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.model.ports import History

SHOWN = 3_600.0  # seconds that health tells of it


@dataclass(slots=True)
class Acknowledged:
    """The highest position that is known to be before an acknowledged commit."""

    lost: int = 0  # times that commits were lost
    lost_at: float = -1e9
    why: str = ""
    _last: History | None = None

    def seen(self, found: History | None, now: float, *, wrote: bool) -> str | None:
        """What was lost, in words. `wrote`: a commit after `found` was acknowledged."""
        last = self._last
        if found is None or (last is None and not wrote):
            return None
        if last is not None and (why := loss(last, found)) is not None:
            self.lost, self.lost_at, self.why = self.lost + 1, now, why
            self._last = found if wrote else None
            return why
        if wrote:
            self._last = found
        return None

    def shown(self, now: float) -> str | None:
        """For health; None when there is nothing to tell, or not any more."""
        return self.why if now - self.lost_at < SHOWN else None


def loss(last: History, found: History) -> str | None:
    """What the database has lost since, in words; None when it goes on from where it was."""
    if found.system != last.system:
        return f"another database system answers ({found.system}, before it was {last.system})"
    if found.position < last.position:
        ends, reached = _shown(found), _shown(last)
        return f"the database has lost acknowledged commits: its log ends at {ends}, and had reached {reached}"
    return None


def _shown(history: History) -> str:
    high, low = divmod(history.position, 2**32)
    return f"{high:X}/{low:X} of timeline {history.timeline}"
