"""Which worker is a black hole: a broken host that fails everything at once, and so is always free for more. Pure.

Who fails nearly everything that others can do gets no work for a while, and longer each time. A handler that fails
everywhere, or a poison task, says nothing about a worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from actors.model.columns import Outcome

WINDOW = 30.0  # seconds that are looked at
LEAST = 10  # errors of one session
SHARE = 0.9  # errors among its outcomes
FIRST = 30.0  # seconds without work, the first time
LONGEST = 600.0  # each time twice as long, up to this
RECOVERED = 10  # outcomes without an error after it came back: the next time counts as the first again

ERRORS = frozenset({Outcome.FAILED, Outcome.FAILED_FINAL, Outcome.TIMED_OUT, Outcome.CRASHED})
WHY = "nearly everything fails here that succeeds elsewhere"
SUCCESSES = frozenset({Outcome.SUCCEEDED, Outcome.SNOOZED})  # all others say nothing


@dataclass(slots=True)
class Tally:
    """Good and bad outcomes of one handler at one session, by second."""

    _seconds: deque[tuple[int, int, int]] = field(default_factory=deque)  # at most WINDOW and one
    good: int = 0
    bad: int = 0

    def add(self, now: float, good: int, bad: int) -> None:
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            _, before_good, before_bad = self._seconds.pop()
            self._seconds.append((second, before_good + good, before_bad + bad))
        else:
            self._seconds.append((second, good, bad))
        self.good += good
        self.bad += bad
        self.age(now)

    def age(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] < now - WINDOW:
            _, good, bad = self._seconds.popleft()
            self.good -= good
            self.bad -= bad


@dataclass(slots=True)
class Record:
    """What is known of one session."""

    tallies: dict[str, Tally] = field(default_factory=dict)  # by handler
    times: int = 0  # that it was benched, since it last recovered
    until: float = -1e9  # it gets no work before
    unbroken: int = 0  # successes since the last error
    heard: float = 0.0


class Failures:
    """Outcomes of all sessions of one coordinator, and who is benched for them. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}

    def add(self, session: int, counts: Mapping[str, tuple[int, int]], now: float) -> float | None:
        """Books (good, bad) outcomes by handler; the time until which the session gets no work, if it is new."""
        record = self._records.get(session)
        if record is None:
            self._forget_old(now)
            record = self._records[session] = Record()
        record.heard = now
        bad = 0
        for name, (good, errors) in counts.items():
            record.tallies.setdefault(name, Tally()).add(now, good, errors)
            record.unbroken += good
            bad += errors
        if not bad:
            if record.unbroken >= RECOVERED and now >= record.until:
                record.times = 0
            return None
        record.unbroken = 0
        if now < record.until or not self._is_black_hole(session, record, now):
            return None
        record.until = now + min(LONGEST, FIRST * 2**record.times)
        record.times += 1
        record.tallies.clear()  # it is judged anew by what it does when it is back
        return record.until

    def benched_until(self, session: int) -> float:
        """In the past for nearly everybody."""
        record = self._records.get(session)
        return -1e9 if record is None else record.until

    def _is_black_hole(self, session: int, record: Record, now: float) -> bool:
        for tally in record.tallies.values():
            tally.age(now)
        if sum(tally.bad for tally in record.tallies.values()) < LEAST:
            return False
        good = bad = 0
        for name, tally in record.tallies.items():
            if self._succeeds_elsewhere(name, session, now):
                good += tally.good
                bad += tally.bad
        return bad >= LEAST and bad >= SHARE * (good + bad)

    def _succeeds_elsewhere(self, name: str, session: int, now: float) -> bool:
        """Whether the others can do it: more than half of what they did of it in the window went well."""
        others = [tally for other, tally in self._of(name) if other != session]
        for tally in others:
            tally.age(now)
        return sum(tally.good for tally in others) > sum(tally.bad for tally in others)

    def _of(self, name: str) -> Iterator[tuple[int, Tally]]:
        for session, record in self._records.items():
            if (tally := record.tallies.get(name)) is not None:
                yield session, tally

    def _forget_old(self, now: float) -> None:
        """A session that was not heard of for so long has ended, or begins anew."""
        old = [one for one, record in self._records.items() if max(record.heard, record.until) < now - LONGEST]
        for one in old:
            del self._records[one]
