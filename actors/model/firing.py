"""What is to be done about a schedule now: pure, and the same for whoever asks.

A slot that is late by at most LATE is just late. Later it was missed, and `catch_up` says what becomes of it. What
fires then meets `overlap`. One step looks at no more than STEP nominal times; what is left is for the next one, and
the schedule carries what the steps need of each other.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from actors.model.recurrence import EveryRule, Instant
from actors.model.schedule import CatchUp, Overlap, Schedule

LATE = timedelta(seconds=60)
STEP = 2_000  # nominal times
ROWS = 100  # slots skipped for one reason in one step; more of them are one gap entry

MISSED = "missed: nobody fired it in time, and catch_up is none"
NOT_NEWEST = "missed: catch_up fires the newest one only"
TOO_OLD = "missed: older than catch_up_window"
OVER_CAP = "missed: more than catch_up_cap slots"
PAUSED = "paused"
EDITED = "edited: the definition changed before it was fired"
NEWER = "overlap: a newer slot came while it waited"
SAME_TIME = "overlap: another slot was posted in the same moment"


@dataclass(frozen=True, slots=True)
class Previous:
    """What the schedule still has to do."""

    task: int | None = None  # an unfinished task of it
    waiting: bool = False  # a slot waits for the end of one


@dataclass(frozen=True, slots=True)
class Planned:
    at: datetime
    run_at: datetime  # with jitter
    dst: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    at: datetime
    reason: str
    dst: str = ""


@dataclass(frozen=True, slots=True)
class GapEntry:
    """`first` to `last` held `count` nominal times; one with the same first goes on with an entry that is there."""

    first: datetime
    start: datetime  # the first nominal time that this one adds
    last: datetime
    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """One step of one schedule."""

    schedule: Schedule  # as it is afterwards
    fire: Sequence[Planned] = ()  # oldest first
    wait: Sequence[Planned] = ()  # until the task before has ended
    skip: Sequence[Skipped] = ()
    gaps: Sequence[GapEntry] = ()
    cancel: bool = False  # its unfinished tasks are asked to stop
    give_up_waiting: bool = False  # slots that wait are skipped, with NEWER as the reason
    looked_at: int = 0  # nominal times: what the step has cost


def decide(schedule: Schedule, now: datetime, previous: Previous) -> Firing:
    """`now` is the database's. Nothing but time decides: who asks, and how often, changes no slot."""
    if schedule.paused:
        return Firing(schedule=schedule)
    if schedule.skip_until is not None:
        return _count_gap(schedule, schedule.skip_until)
    found, following = _nominal(schedule, now)
    if not found:
        return Firing(schedule=replace(schedule, next_slot_at=None if following is None else following.at))
    missed = [one for one in found if one.at < now - LATE]
    newest = following is None or following.at >= now - LATE  # no missed one is left for the next step
    fired, skipped, gaps = _catch_up(schedule, missed, now, newest)
    firing = _overlap(schedule, [*fired, *found[len(missed) :]], previous)
    behind = following is not None and following.at <= now
    after = replace(
        schedule,
        counted_to=found[-1].at,
        last_slot_at=found[-1].at,
        next_slot_at=None if following is None else following.at,
        catching_up=schedule.catching_up + len(fired) if behind else 0,
    )
    return replace(firing, schedule=after, skip=[*skipped, *firing.skip], gaps=gaps, looked_at=len(found))


def decide_trigger(schedule: Schedule, now: datetime, previous: Previous) -> Firing:
    """One slot that somebody asks for; it counts as no nominal time."""
    return _overlap(schedule, [Instant(now)], previous)


def left_behind(schedule: Schedule, now: datetime, limit: int) -> tuple[GapEntry | None, bool]:
    """Nominal times up to now that an edit leaves unfired, and whether that is all of them."""
    entry, _, whole = _counted(schedule, now, EDITED, None, limit)
    return entry, whole


def run_at(schedule: Schedule, at: datetime) -> datetime:
    """The nominal time with its jitter: the same for the same slot, wherever it is computed."""
    if not schedule.definition.jitter:
        return at
    digest = hashlib.sha256(f"{schedule.id} {at.isoformat()}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return at + timedelta(seconds=share * schedule.definition.jitter)


def planned(schedule: Schedule, instant: Instant) -> Planned:
    return Planned(instant.at, run_at(schedule, instant.at), instant.dst.value)


def _nominal(schedule: Schedule, now: datetime) -> tuple[list[Instant], Instant | None]:
    """At most STEP that are due, and the one that follows them."""
    found: list[Instant] = []
    for one in schedule.times(schedule.counted_to):
        if one.at > now or len(found) == STEP:
            return found, one
        found.append(one)
    return found, None


def _catch_up(
    schedule: Schedule, missed: Sequence[Instant], now: datetime, newest: bool
) -> tuple[list[Instant], list[Skipped], list[GapEntry]]:
    """Which of the missed ones fire, and how the others are entered."""
    definition = schedule.definition
    fired: list[Instant] = []
    groups: list[tuple[str, Sequence[Instant]]] = []
    match definition.catch_up:
        case CatchUp.NONE:
            groups = [(MISSED, missed)]
        case CatchUp.LAST:
            fired = list(missed[-1:]) if newest else []
            groups = [(NOT_NEWEST, missed[: len(missed) - len(fired)])]
        case CatchUp.ALL:
            oldest = now - timedelta(seconds=definition.catch_up_window)
            old = [one for one in missed if one.at < oldest]
            within = missed[len(old) :]
            fired = list(within[: max(0, definition.catch_up_cap - schedule.catching_up)])
            groups = [(TOO_OLD, old), (OVER_CAP, within[len(fired) :])]
    skipped: list[Skipped] = []
    gaps: list[GapEntry] = []
    for reason, members in groups:
        if len(members) > ROWS:
            gaps.append(GapEntry(members[0].at, members[0].at, members[-1].at, len(members), reason))
        else:
            skipped += [Skipped(one.at, reason, one.dst.value) for one in members]
    return fired, skipped, gaps


def _overlap(schedule: Schedule, wanted: Sequence[Instant], previous: Previous) -> Firing:
    policy, busy = schedule.definition.overlap, previous.task is not None or previous.waiting
    plans = [planned(schedule, one) for one in wanted]
    unfinished = f"overlap: task {previous.task} is unfinished" if previous.task is not None else SAME_TIME
    if policy is Overlap.ALLOW or not plans:
        return Firing(schedule=schedule, fire=plans)
    if policy is Overlap.CANCEL_RUNNING:  # of several at once only the newest would be left running
        *older, newest = plans
        skip = _skipped(older, NEWER)
        if not busy:
            return Firing(schedule=schedule, fire=[newest], skip=skip)
        return Firing(schedule=schedule, wait=[newest], skip=skip, cancel=True, give_up_waiting=previous.waiting)
    fire, rest = ([], plans) if busy else (plans[:1], plans[1:])
    wait = rest[:1] if policy is Overlap.QUEUE_ONE and not previous.waiting else []
    return Firing(schedule=schedule, fire=fire, wait=wait, skip=_skipped(rest[len(wait) :], unfinished))


def _skipped(plans: Iterable[Planned], reason: str) -> list[Skipped]:
    return [Skipped(one.at, reason, one.dst) for one in plans]


def _count_gap(schedule: Schedule, until: datetime) -> Firing:
    """The next part of a gap that is known as such: it is counted, not listed."""
    entry, last, whole = _counted(schedule, until, schedule.skip_reason or PAUSED, schedule.gap_from, STEP)
    counted_to = max(schedule.counted_to, until if whole else last)
    after = replace(
        schedule,
        counted_to=counted_to,
        next_slot_at=schedule.next_after(counted_to),
        skip_until=None if whole else until,
        skip_reason=None if whole else schedule.skip_reason,
        gap_from=None if whole or entry is None else entry.first,
    )
    return Firing(
        schedule=after,
        gaps=[] if entry is None else [entry],
        looked_at=0 if entry is None else min(STEP, entry.count),
    )


def _counted(
    schedule: Schedule, until: datetime, reason: str, first: datetime | None, limit: int
) -> tuple[GapEntry | None, datetime, bool]:
    """An entry, the last time in it, and whether it reaches `until`. Intervals need no walk."""
    times = itertools.takewhile(lambda one: one.at <= until, schedule.times(schedule.counted_to))
    start = next(times, None)
    if start is None:
        return None, schedule.counted_to, True
    rule = schedule.definition.rule(schedule.anchor)
    if isinstance(rule, EveryRule):
        step = timedelta(seconds=rule.period)
        end = until if schedule.definition.end_at is None else min(until, schedule.definition.end_at)
        further = (end - start.at) // step
        last, count, whole = start.at + further * step, further + 1, True
    else:
        found = list(itertools.islice(times, limit))
        last = found[-1].at if found else start.at
        count, whole = len(found) + 1, len(found) < limit
    return GapEntry(first or start.at, start.at, last, count, reason), last, whole
