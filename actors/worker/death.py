"""How an executor ended, and what that means for the attempts that were in it. Pure."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.model.columns import Outcome, Outcomes
from actors.runtime import chance
from actors.worker.books import BY_WISH, Books, End

CRASH_PERIOD = 60.0  # seconds in which crashes add up


@dataclass(frozen=True, slots=True)
class Death:
    """The end of one child process."""

    pid: int
    code: int | None  # negative: a signal; None: it is not known to have ended
    trouble: str | None = None  # what was wrong with it before it was killed: stalled, broken frames
    begun: int | None = None  # attempts that it had begun, in the order in which they were given

    @property
    def how(self) -> str:
        if self.code is None:
            return "without an exit status"
        if self.code >= 0:
            return f"with exit code {self.code}"
        try:
            return f"by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"by signal {-self.code}"

    @property
    def by_its_alarm(self) -> bool:
        """It ended itself at the deadline of the lease: the node may have been frozen, and not know of it yet."""
        return self.code == -signal.SIGALRM

    @property
    def evidence(self) -> dict[str, Any]:
        found: dict[str, Any] = {"pid": self.pid}
        if self.code is not None and self.code < 0:
            found["signal"] = self.how.removeprefix("by ")
        elif self.code is not None:
            found["exit_code"] = self.code
        if self.trouble is not None:
            found["trouble"] = self.trouble
        return found


def after_kill(books: Books, sentenced: Mapping[int, Outcome], death: Death) -> Outcomes:
    """We killed it because some attempts did not leave: they end as sentenced, their neighbours are released."""
    told = {
        Outcome.TIMED_OUT: "the attempt did not leave after its timeout: its executor was killed",
        Outcome.CANCELLED: "the attempt did not leave after it was cancelled: its executor was killed",
        Outcome.RELEASED: "the attempt had to stop and did not leave: its executor was killed",
    }
    ends = {
        kind: End(kind, {"type": "Killed", "message": message, "evidence": {**death.evidence, "killed": True}})
        for kind, message in told.items()
    }
    neighbour = End(
        Outcome.RELEASED,
        {"type": "Released", "message": "a neighbour had to be killed", "evidence": death.evidence},
    )
    wished = {task: BY_WISH.get(wish.reason, Outcome.RELEASED) for task, wish in books.wishes.items()}
    return books.close({task: ends[kind] for task, kind in {**wished, **sentenced}.items()}, neighbour)


def after_crash(books: Books, death: Death, *, lease_over: bool) -> Outcomes:
    """It died by itself: what may have run crashed, what was queued is released.

    After the end of the lease nobody crashed: executors end themselves then.
    """
    what = death.trouble or f"the executor ended {death.how}"
    if lease_over:
        body = {"type": "Released", "message": f"{what} after the lease had ended", "evidence": death.evidence}
        return books.close({}, End(Outcome.RELEASED, body))
    crashed = End(
        Outcome.CRASHED,
        {"type": "ExecutorCrashed", "message": f"{what} while this attempt ran", "evidence": death.evidence},
    )
    released = End(
        Outcome.RELEASED,
        {"type": "Released", "message": f"{what} before this attempt started", "evidence": death.evidence},
    )
    cancelled = End(
        Outcome.CANCELLED,
        {"type": "Cancelled", "message": f"{what} while this attempt was being cancelled", "evidence": death.evidence},
    )
    ends = dict.fromkeys(books.may_run(death.begun), crashed)
    ends |= {task: cancelled if wish.reason in BY_WISH else released for task, wish in books.wishes.items()}
    return books.close(ends, released)


def handed_back(books: Books, why: str) -> Outcomes:
    """Everything goes back unharmed."""
    return books.close({}, End(Outcome.RELEASED, {"type": "Released", "message": why}))


@dataclass(slots=True)
class Backoff:
    """The first restart comes at once, the next ones after 0.5, 1, 2 … 30 s, while crashes come close together."""

    first: float = 0.5
    cap: float = 30.0
    _crashes: deque[float] = field(default_factory=deque)

    def after(self, now: float) -> float:
        self._crashes.append(now)
        while self._crashes[0] < now - CRASH_PERIOD:
            self._crashes.popleft()
        count = len(self._crashes)
        if count == 1:
            return 0.0
        return chance.uniform(0.5, 1.0) * min(self.cap, self.first * 2.0 ** (count - 2))
