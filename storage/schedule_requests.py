"""Slots that somebody asks for: one now, or those of the past that have not fired."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from actors.model.errors import BadValue, Conflict, NotFound
from actors.model.firing import Firing, Planned, Previous, decide_trigger
from actors.model.schedule import MICROSECOND, Overlap, Schedule, Slot, SlotKind
from actors.model.schedule_form import time_text
from actors.model.schedule_port import Backfilled
from storage.connect import Connection
from storage.notify import Notifier
from storage.pool import Pool, never
from storage.queries import sql
from storage.schedule_firing import Channels, Told, enter
from storage.schedule_rows import SLOT_COLUMNS, a_schedule, a_slot

NAMED = " WHERE s.name = $1 AND s.deleted_at IS NULL"


class PostgresSlotRequests:
    """The part of the ScheduleStore port that posts tasks for people."""

    def __init__(self, pool: Pool, notifier: Notifier) -> None:
        self._pool, self._notifier = pool, notifier
        self._channels = Channels(*(notifier.channel(topic) for topic in ("due", "wishes", "schedules")))

    async def trigger(self, name: str) -> Slot:
        async def work(connection: Connection) -> tuple[Slot, Told]:
            async with connection.transaction():
                row = await locked_row(connection, name)
                schedule = a_schedule(row)
                [previous] = await previous_of(connection, [schedule])
                now = _between_nominal_times(await connection.fetchval("SELECT clock_timestamp()"))
                firing = decide_trigger(schedule, now, previous)
                if firing.skip:
                    raise Conflict(f"{name} was not triggered: {firing.skip[0].reason}")
                lanes = {schedule.id: row["lane_id"]}
                told = await enter(connection, [firing], lanes, SlotKind.TRIGGER, self._channels)
                await announce(connection, self._channels)
                slot = await connection.fetchrow(
                    f"SELECT {SLOT_COLUMNS} FROM callboard_schedule_slots"
                    " WHERE schedule_id = $1 AND slot_at = $2 AND state <> 'gap'",
                    schedule.id,
                    now,
                )
                assert slot is not None
                return a_slot(slot), told

        slot, told = await self._pool.run(work, repeatable=never)
        told.tell(self._notifier)
        self._notifier.notify("schedules")
        return slot

    async def backfill(self, name: str, start: datetime, until: datetime, *, limit: int) -> Backfilled:
        async def work(connection: Connection) -> tuple[Backfilled, Told]:
            async with connection.transaction():
                row = await locked_row(connection, name)
                schedule = a_schedule(row)
                wanted = _within(schedule, start, until, limit)
                rows = await connection.fetch(
                    "SELECT id, slot_at, state FROM callboard_schedule_slots"
                    " WHERE schedule_id = $1 AND slot_at = ANY ($2::timestamptz[]) AND state <> 'gap'",
                    schedule.id,
                    [plan.at for plan in wanted],
                )
                done = {one["slot_at"] for one in rows if one["state"] != "skipped"}
                missing = [plan for plan in wanted if plan.at not in done]
                # What was skipped is entered anew: its row gives way to the one that says what became of it.
                await connection.execute(
                    "DELETE FROM callboard_schedule_slots WHERE id = ANY ($1::bigint[])",
                    [one["id"] for one in rows if one["state"] == "skipped"],
                )
                at_once = schedule.definition.overlap is Overlap.ALLOW
                firing = Firing(schedule=schedule, fire=missing) if at_once else Firing(schedule=schedule, wait=missing)
                lanes = {schedule.id: row["lane_id"]}
                told = await enter(connection, [firing], lanes, SlotKind.BACKFILL, self._channels)
                await announce(connection, self._channels)
                return Backfilled(len(firing.fire), len(firing.wait), len(wanted) - len(missing)), told

        made, told = await self._pool.run(work)
        told.tell(self._notifier)
        self._notifier.notify("schedules")
        return made


async def locked_row(connection: Connection, name: str) -> asyncpg.Record:
    row = await connection.fetchrow(sql("schedule") + NAMED + " FOR UPDATE OF s", name)
    if row is None:
        raise unknown(name)
    return row


async def previous_of(connection: Connection, schedules: Sequence[Schedule]) -> list[Previous]:
    """In a statement after the one that locked: it sees what was committed before."""
    asking = [one.id for one in schedules if one.definition.overlap is not Overlap.ALLOW]
    rows = await connection.fetch(sql("unfinished_of_schedules"), asking) if asking else []
    found = {row["id"]: Previous(row["task"], row["waiting"]) for row in rows}
    return [found.get(one.id, Previous()) for one in schedules]


async def announce(connection: Connection, channels: Channels) -> None:
    """Tells schedulers, with the commit, that a schedule changed."""
    await connection.execute("SELECT pg_notify($1, '')", channels.schedules)


def unknown(name: str) -> NotFound:
    return NotFound(f"there is no schedule {name}")


def _between_nominal_times(now: Any) -> datetime:
    """Nominal times are whole milliseconds: an instant that is none can't take the place of one."""
    made: datetime = now
    return made if made.microsecond % 1000 else made + MICROSECOND


def _within(schedule: Schedule, start: datetime, until: datetime, limit: int) -> list[Planned]:
    """From `start` on, up to `until`. Raises BadValue."""
    times = itertools.takewhile(lambda one: one.at <= until, schedule.times(start - MICROSECOND))
    found = list(itertools.islice(times, limit + 1))
    if len(found) > limit:
        first = time_text(found[limit - 1].at)
        raise BadValue("until", f"more than {limit} nominal times lie between: backfill up to {first} first")
    return [Planned(one.at, one.at, one.dst.value) for one in found]
