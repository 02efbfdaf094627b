"""What people do to a schedule. An edit of its times and a resume count from now: nothing of the past fires."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from actors.model.firing import PAUSED, GapEntry, left_behind
from actors.model.schedule import Definition, Schedule

COUNTED = 5_000  # nominal times that an edit counts; beyond them its gap entry says "at least"


def created(name: str, definition: Definition, now: datetime, *, id: int = 0) -> Schedule:
    anchor = now.replace(microsecond=0)
    return Schedule(
        id=id,
        name=name,
        definition=definition,
        version=1,
        anchor=anchor,
        counted_to=now,
        next_slot_at=definition.next_after(anchor, now),
        created_at=now,
        updated_at=now,
    )


def edited(schedule: Schedule, definition: Definition, now: datetime) -> tuple[Schedule, GapEntry | None]:
    """The schedule with another definition, and what the one before leaves unfired. The same one changes nothing."""
    if definition == schedule.definition:
        return schedule, None
    changed = replace(schedule, definition=definition, version=schedule.version + 1, updated_at=now)
    if definition.timing == schedule.definition.timing:
        return changed, None
    entry, whole = left_behind(schedule, now, COUNTED)
    if entry is not None and not whole:
        entry = replace(entry, last=now, reason=f"{entry.reason}; at least so many")
    anchor, counted_to = now.replace(microsecond=0), max(now, schedule.counted_to)
    changed = replace(
        changed,
        anchor=anchor,
        counted_to=counted_to,
        next_slot_at=definition.next_after(anchor, counted_to),
        catching_up=0,
        skip_until=None,
        skip_reason=None,
        gap_from=None,
    )
    return changed, entry


def paused(schedule: Schedule, reason: str | None, now: datetime) -> Schedule:
    """A second pause changes the reason only."""
    since = schedule.paused_at if schedule.paused else now
    return replace(schedule, paused=True, paused_reason=reason, paused_at=since)


def resumed(schedule: Schedule, now: datetime) -> Schedule:
    """What passed meanwhile is counted as one gap by the next steps."""
    if not schedule.paused:
        return schedule
    reason = f"{PAUSED}: {schedule.paused_reason}" if schedule.paused_reason else PAUSED
    return replace(
        schedule,
        paused=False,
        paused_reason=None,
        paused_at=None,
        skip_until=now if schedule.skip_until is None else max(now, schedule.skip_until),
        skip_reason=reason if schedule.skip_until is None else schedule.skip_reason,
        next_slot_at=schedule.next_after(schedule.counted_to),
    )


def retimed(schedule: Schedule) -> Schedule:
    """With the time zone data of this machine."""
    return replace(schedule, next_slot_at=schedule.next_after(schedule.counted_to))


def replaced(
    schedule: Schedule, definition: Definition, pause: bool | None, now: datetime
) -> tuple[Schedule, GapEntry | None]:
    """Another definition, and paused or resumed where somebody says so."""
    changed, entry = edited(schedule, definition, now)
    if pause is True and not changed.paused:
        changed = paused(changed, None, now)
    elif pause is False:
        changed = resumed(changed, now)
    return changed, entry
