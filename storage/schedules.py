"""Implements the ScheduleStore port on PostgreSQL.

Every change happens under the row lock of its schedule, so that two schedulers, an edit and a trigger come one after
the other. Several schedulers share the work: what one has locked, the others pass by.
"""

from __future__ import annotations

import itertools
import logging
from datetime import datetime

from actors.model import zones
from actors.model.errors import Conflict
from actors.model.firing import PAUSED, Firing, GapEntry, Planned
from actors.model.schedule import Definition, Health, Schedule, Slot, SlotKind
from actors.model.schedule_changes import created, retimed
from actors.model.schedule_changes import paused as pause_of
from actors.model.schedule_form import lane_key
from actors.model.schedule_port import Change, Fired, Plan
from storage.connect import Connection
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql
from storage.schedule_firing import Told, enter, give_up_waiting, post
from storage.schedule_requests import NAMED, PostgresSlotRequests, announce, locked_row, previous_of, unknown
from storage.schedule_rows import SLOT_COLUMNS, a_schedule, a_slot, definition_text, saved

log = logging.getLogger(__name__)

DELETED = "the schedule was deleted"
# What a scheduler locks, and what others have locked it passes by. $1 how many
DUE = (
    " WHERE s.next_slot_at <= statement_timestamp() AND NOT s.paused AND s.deleted_at IS NULL"
    " ORDER BY s.next_slot_at LIMIT $1 FOR UPDATE OF s SKIP LOCKED"
)
FREE = (
    " WHERE s.id IN (SELECT w.schedule_id FROM callboard_schedule_slots w WHERE w.state = 'waiting')"
    " AND NOT EXISTS (SELECT FROM callboard_tasks t WHERE t.schedule_id = s.id AND t.finished_at IS NULL)"
    " AND NOT s.paused AND s.deleted_at IS NULL ORDER BY s.id LIMIT $1 FOR UPDATE OF s SKIP LOCKED"
)


class PostgresSchedules(PostgresSlotRequests):
    """The ScheduleStore port."""

    def __init__(self, pool: Pool, lanes: Lanes, notifier: Notifier) -> None:
        super().__init__(pool, notifier)
        self._lanes = lanes

    # --- for people -------------------------------------------------------------------------------

    async def create(self, name: str, definition: Definition, *, paused: bool) -> Schedule:
        lane = await self._lane(definition)
        tries = itertools.count()

        async def work(connection: Connection) -> Schedule:
            again = next(tries) > 0  # the try before may have been committed
            async with connection.transaction():
                now: datetime = await connection.fetchval("SELECT clock_timestamp()")
                schedule = created(name, definition, now)
                schedule = pause_of(schedule, None, now) if paused else schedule
                fresh = await connection.fetchval(
                    "INSERT INTO callboard_schedules (name, definition, lane_id, anchor, counted_to, next_slot_at,"
                    " paused, paused_at, tzdata, created_at, updated_at)"
                    " VALUES ($1, $2::text::jsonb, $3, $4, $5, $6, $7, $8, $9, $10, $10)"
                    " ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING RETURNING id",
                    name, definition_text(schedule), lane, schedule.anchor, schedule.counted_to,
                    schedule.next_slot_at, schedule.paused, schedule.paused_at, zones.data_version(), now,
                )  # fmt: skip
                stored = await self._locked(connection, name)
                if fresh is None and not (again and stored.definition == definition):
                    raise Conflict(f"there is a schedule {name}: PUT replaces it, PATCH changes it")
                await announce(connection, self._channels)
                return stored

        made = await self._pool.run(work)
        self._notifier.notify("schedules")
        return made

    async def change(self, name: str, change: Change, *, definition: Definition | None = None) -> Schedule:
        lane = None if definition is None else await self._lane(definition)

        async def work(connection: Connection) -> Schedule:
            async with connection.transaction():
                before = await self._locked(connection, name)
                after, entry = change(before, await connection.fetchval("SELECT clock_timestamp()"))
                if after == before:
                    return before
                if entry is not None:
                    await self._enter_gap(connection, before, entry)
                if after.paused and not before.paused:
                    await give_up_waiting(connection, [before.id], PAUSED)
                await connection.execute(sql("save_schedules"), *saved([(before, after)], lane))
                await announce(connection, self._channels)
                return after

        made = await self._pool.run(work)
        self._notifier.notify("schedules")
        return made

    async def get(self, name: str) -> Schedule | None:
        row = await self._pool.fetchrow(sql("schedule") + NAMED, name)
        return None if row is None else a_schedule(row)

    async def find(self, *, limit: int, before_id: int | None) -> list[Schedule]:
        where = " WHERE s.deleted_at IS NULL AND s.id < $1 ORDER BY s.id DESC LIMIT $2"
        rows = await self._pool.fetch(sql("schedule") + where, 2**63 - 1 if before_id is None else before_id, limit)
        return [a_schedule(row) for row in rows]

    async def delete(self, name: str) -> None:
        tries = itertools.count()

        async def work(connection: Connection) -> bool:
            again = next(tries) > 0
            async with connection.transaction():
                gone = await connection.fetchval(
                    "UPDATE callboard_schedules SET deleted_at = clock_timestamp(), next_slot_at = NULL"
                    " WHERE name = $1 AND deleted_at IS NULL RETURNING id",
                    name,
                )
                if gone is not None:
                    await give_up_waiting(connection, [gone], DELETED, all=True)
                return again or gone is not None

        if not await self._pool.run(work):
            raise unknown(name)

    async def slots(self, schedule_id: int, *, limit: int, before_id: int | None) -> list[Slot]:
        rows = await self._pool.fetch(
            f"SELECT {SLOT_COLUMNS} FROM callboard_schedule_slots WHERE schedule_id = $1 AND id < $2"
            " ORDER BY id DESC LIMIT $3",
            schedule_id,
            2**63 - 1 if before_id is None else before_id,
            limit,
        )
        return [a_slot(row) for row in rows]

    # --- for schedulers ---------------------------------------------------------------------------

    async def look(self) -> Health:
        row = await self._pool.fetchrow(sql("look_at_schedules"))
        assert row is not None
        return Health(
            now=row["now"], next_at=row["next_at"], waiting=row["waiting"], overdue=row["overdue"],
            names=tuple(row["names"]), untimed=row["untimed"],
        )  # fmt: skip

    async def fire(self, plan: Plan, *, limit: int) -> Fired:
        async def work(connection: Connection) -> tuple[Fired, Told]:
            async with connection.transaction():
                rows = await connection.fetch(sql("schedule") + DUE, limit)
                schedules = {row["id"]: a_schedule(row) for row in rows}
                if not schedules:
                    return Fired(0, 0), Told()
                previous = await previous_of(connection, list(schedules.values()))
                firings = plan(max(row["now"] for row in rows), list(zip(schedules.values(), previous, strict=True)))
                lanes = {row["id"]: row["lane_id"] for row in rows}
                told = await enter(connection, firings, lanes, SlotKind.NOMINAL, self._channels)
                changes = [(schedules[one.schedule.id], one.schedule) for one in firings]
                await connection.execute(sql("save_schedules"), *saved(changes))
                return Fired(len(firings), told.tasks), told

        fired, told = await self._pool.run(work)  # repeatable: what was committed is no longer due
        told.tell(self._notifier)
        return fired

    async def post_waiting(self, *, limit: int) -> int:
        async def work(connection: Connection) -> Told:
            async with connection.transaction():
                rows = await connection.fetch(sql("schedule") + FREE, limit)
                schedules = {row["id"]: a_schedule(row) for row in rows}
                lanes = {row["id"]: row["lane_id"] for row in rows}
                # A second statement: it sees what was committed before the locks were ours.
                slots = await connection.fetch(sql("next_waiting"), list(schedules)) if schedules else []
                told = Told()
                posts = [
                    (row["id"], schedules[row["schedule_id"]], Planned(row["slot_at"], row["run_at"], row["dst"]))
                    for row in slots
                ]
                await post(connection, posts, lanes, self._channels, told)
                return told

        told = await self._pool.run(work)
        told.tell(self._notifier)
        return told.tasks

    async def retime(self, data_version: str, *, limit: int) -> int:
        async def work(connection: Connection) -> int:
            async with connection.transaction():
                older = " WHERE s.tzdata < $1 AND s.deleted_at IS NULL LIMIT $2 FOR UPDATE OF s SKIP LOCKED"
                found = [
                    a_schedule(row) for row in await connection.fetch(sql("schedule") + older, data_version, limit)
                ]
                if found:
                    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
                    changes = [(one, _retimed(one, now)) for one in found]
                    await connection.execute(sql("save_schedules"), *saved(changes))
                return len(found)

        return await self._pool.run(work)

    async def prune(self, limit: int) -> int:
        rows = await self._pool.fetch(sql("prune_schedules"), limit)
        return int(rows[0]["count"])

    # --- parts ------------------------------------------------------------------------------------

    async def _lane(self, definition: Definition) -> int:
        """Before any transaction: this takes a connection of its own."""
        key = lane_key(definition)
        return (await self._lanes.intern([key]))[key]

    async def _locked(self, connection: Connection, name: str) -> Schedule:
        return a_schedule(await locked_row(connection, name))

    async def _enter_gap(self, connection: Connection, schedule: Schedule, entry: GapEntry) -> None:
        firing = Firing(schedule=schedule, gaps=[entry])
        await enter(connection, [firing], {}, SlotKind.NOMINAL, self._channels)


def _retimed(schedule: Schedule, now: datetime) -> Schedule:
    """Paused where nobody can say when it is due: it came in by another door, or its time zone is gone."""
    try:
        return retimed(schedule)
    except ValueError as error:
        log.error("schedule %s is paused: %s", schedule.name, error)
        return pause_of(schedule, f"not understood: {error}", now)
