"""When a schedule fires: instants in UTC, rising, with a mark on those that a change of the clocks had a hand in."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from actors.model.cron import Cron

END = datetime(2200, 1, 1, tzinfo=UTC)  # nothing is computed beyond it
LOOK = timedelta(hours=12)  # no zone changes its offset twice within it
BACK = timedelta(days=2)  # longer than any clock was ever turned back


class Gap(StrEnum):
    """What becomes of a wall-clock time that the clocks skip."""

    SHIFT = "shift"  # once, at the first instant after the gap
    SKIP = "skip"


class Fold(StrEnum):
    """Which of two equal wall-clock times counts."""

    FIRST = "first"
    LAST = "last"
    BOTH = "both"


class Dst(StrEnum):
    """What a change of the clocks did to an instant."""

    NONE = ""
    SHIFTED = "shifted"  # its wall-clock time does not exist on that day
    REPEATED = "repeated"  # its wall-clock time occurs twice on that day


@dataclass(frozen=True, slots=True)
class Instant:
    """One nominal time of a schedule."""

    at: datetime  # UTC
    dst: Dst = Dst.NONE


@dataclass(frozen=True, slots=True)
class CronRule:
    cron: Cron
    zone: ZoneInfo
    gap: Gap = Gap.SHIFT
    fold: Fold = Fold.FIRST

    def after(self, instant: datetime) -> Iterator[Instant]:
        last = instant
        for period in _periods(self.zone, instant - BACK):
            if period.end <= instant:
                continue
            for found in self._within(period, max(instant, period.start)):
                if found.at > last:
                    yield found
                    last = found.at

    def _within(self, period: _Period, instant: datetime) -> Iterator[Instant]:
        """Of one period of constant offset, from `instant` on."""
        wall = self.cron.wall_clock
        if wall and self.gap is Gap.SHIFT and period.opens_gap and instant == period.start:
            skipped = _local(period.start, period.before)
            match = next(self.cron.matches(skipped - timedelta(seconds=1)), None)
            if match is not None and match < _local(period.start, period.offset):
                yield Instant(period.start, Dst.SHIFTED)
        for local in self.cron.matches(_local(instant, period.offset) - timedelta(seconds=1)):
            at = (local - period.offset).replace(tzinfo=UTC)
            if at >= period.end:
                return
            repeats, repeated = at < period.repeats_until, at >= period.repeated_from
            if wall and ((repeats and self.fold is Fold.FIRST) or (repeated and self.fold is Fold.LAST)):
                continue
            yield Instant(at, Dst.REPEATED if wall and (repeats or repeated) else Dst.NONE)


@dataclass(frozen=True, slots=True)
class EveryRule:
    """Multiples of a period, counted from an anchor."""

    period: float  # seconds
    anchor: datetime

    def after(self, instant: datetime) -> Iterator[Instant]:
        step = timedelta(seconds=self.period)
        passed = (instant - self.anchor) / step
        first = max(0, math.floor(passed) - 1)
        for number in itertools.count(first):
            at = self.anchor + number * step
            if at >= END:
                return
            if at > instant:
                yield Instant(at)


@dataclass(frozen=True, slots=True)
class OnceRule:
    at: datetime

    def after(self, instant: datetime) -> Iterator[Instant]:
        if self.at > instant:
            yield Instant(self.at)


Rule = CronRule | EveryRule | OnceRule


@dataclass(frozen=True, slots=True)
class _Period:
    """A stretch of time in which a zone's offset from UTC does not change."""

    start: datetime
    end: datetime
    before: timedelta  # offset of the period before
    offset: timedelta
    next: timedelta  # offset of the period after

    @property
    def opens_gap(self) -> bool:
        return self.offset > self.before

    @property
    def repeats_until(self) -> datetime:
        """Until then its local times were there before."""
        return self.start + (self.before - self.offset)

    @property
    def repeated_from(self) -> datetime:
        """From then on its local times come again."""
        return self.end + (self.next - self.offset) if self.next < self.offset else self.end


def _periods(zone: ZoneInfo, start: datetime) -> Iterator[_Period]:
    """From `start` to the end of time. A year's end parts them too, which changes nothing."""
    start = start.replace(microsecond=0)
    before = offset = _offset(zone, start)
    for year in range(start.year, END.year):
        for end, following in _changes(zone, year):
            if end > start:
                yield _Period(start, end, before, offset, following)
                before, offset, start = offset, following, end


@functools.lru_cache(maxsize=1024)
def _changes(zone: ZoneInfo, year: int) -> list[tuple[datetime, timedelta]]:
    """When in this year the offset changes, and to what; at last the year's end."""
    low, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    found = []
    while low < end:
        high = min(low + LOOK, end)
        if _offset(zone, low) != _offset(zone, high):
            found.append(_change(zone, low, high))
        low = high
    last = _offset(zone, end)
    return found if found and found[-1][0] == end else [*found, (end, last)]


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> tuple[datetime, timedelta]:
    """Between two instants of which the offsets differ, to the second."""
    offset, following = _offset(zone, low), _offset(zone, high)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return high, following


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    found = instant.astimezone(zone).utcoffset()
    assert found is not None, "a zone always has an offset"
    return found


def _local(instant: datetime, offset: timedelta) -> datetime:
    return (instant + offset).replace(tzinfo=None)
