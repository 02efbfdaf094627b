"""Writes what was decided about schedules: slots, tasks, and how far each has come, in one transaction.

asyncio-flavoured: these run inside the transaction of a caller who has locked the schedules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.model.firing import NEWER, Firing, Planned
from actors.model.schedule import Schedule, SlotKind
from actors.model.schedule_form import lane_key, new_task
from storage.connect import Connection
from storage.notify import Notifier
from storage.queries import sql
from storage.schedule_rows import entered
from storage.submit import parameters_of


@dataclass(slots=True)
class Told:
    """What to tell this process after the commit; the others hear it with the commit."""

    tasks: int = 0
    due: bool = False
    wishes: bool = False
    final: bool = False

    def tell(self, notifier: Notifier) -> None:
        if self.due:
            notifier.notify("due")
        if self.wishes:
            notifier.notify("wishes")
        if self.final:
            notifier.final()


async def enter(
    connection: Connection, firings: Sequence[Firing], lanes: Mapping[int, int], kind: SlotKind, channels: Channels
) -> Told:
    """Slots and tasks of these steps; `lanes`: schedule → lane of its tasks."""
    told = Told()
    await _cancel(connection, [one.schedule.id for one in firings if one.cancel], channels, told)
    giving_up = [one.schedule.id for one in firings if one.give_up_waiting]
    if giving_up:
        await give_up_waiting(connection, giving_up, NEWER)
    rows = await connection.fetch(sql("enter_slots"), *entered(firings, kind))
    fresh = {(row["schedule_id"], row["slot_at"]): row["id"] for row in rows if row["state"] == "fired"}
    posts = [
        (fresh[key], one.schedule, plan)
        for one in firings
        for plan in one.fire
        if (key := (one.schedule.id, plan.at)) in fresh
    ]
    await post(connection, posts, lanes, channels, told)
    return told


async def post(
    connection: Connection,
    posts: Sequence[tuple[int, Schedule, Planned]],
    lanes: Mapping[int, int],
    channels: Channels,
    told: Told,
) -> None:
    """The tasks of these slots (row ids)."""
    if not posts:
        return
    tasks = [new_task(schedule, plan) for _, schedule, plan in posts]
    lane_ids = {lane_key(schedule.definition): lanes[schedule.id] for _, schedule, _ in posts}
    row = await connection.fetchrow(sql("submit"), *parameters_of(tasks, lane_ids, channels.due))
    assert row is not None
    await connection.execute(
        "UPDATE callboard_schedule_slots s SET state = 'fired', task_id = g.task"
        " FROM unnest($1::bigint[], $2::bigint[]) AS g (id, task) WHERE s.id = g.id",
        [slot for slot, _, _ in posts],
        row["ids"],
    )
    told.tasks += len(tasks)
    told.due = told.due or row["due"]


async def give_up_waiting(connection: Connection, schedules: Sequence[int], reason: str, *, all: bool = False) -> None:
    """Slots that wait are skipped; backfills only with `all`."""
    await connection.execute(
        "UPDATE callboard_schedule_slots SET state = 'skipped', reason = $2"
        " WHERE schedule_id = ANY ($1::bigint[]) AND state = 'waiting' AND ($3 OR kind <> 'backfill')",
        list(schedules),
        reason,
        all,
    )


async def _cancel(connection: Connection, schedules: Sequence[int], channels: Channels, told: Told) -> None:
    if not schedules:
        return
    states = [row["state"] for row in await connection.fetch(sql("cancel_of_schedules"), list(schedules))]
    told.final = told.final or "cancelled" in states
    if any(state != "cancelled" for state in states):
        told.wishes = True
        await connection.execute("SELECT pg_notify($1, '')", channels.wishes)


@dataclass(frozen=True, slots=True)
class Channels:
    """The database's names of topics."""

    due: str
    wishes: str
    schedules: str
