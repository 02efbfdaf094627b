"""The part of callboard.v1.Scheduler about schedules. What a definition may be, actors.model.schedule_fields says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from actors.model.errors import Conflict, NotFound
from actors.model.fields import Instant, Text
from actors.model.firing import GapEntry
from actors.model.preview import Previewed, preview
from actors.model.schedule import Schedule, Slot
from actors.model.schedule_changes import paused, replaced, resumed
from actors.model.schedule_fields import MOST_REASON, Wanted, interval, is_name, read_schedule
from actors.model.schedule_form import written
from actors.model.schedule_port import ScheduleStore
from actors.model.wrong import Wrong, shown
from protos.generated.callboard import v1 as wire
from transport import tasks as form
from transport.service import Service, unary
from transport.wire import MAX_MESSAGE

BACKFILL = 1_000  # slots of one call
PAGE_BYTES = MAX_MESSAGE - 16 * 1024  # of schedules in one page


class ScheduleCalls:
    """Every method is Trio-flavoured; `add_to` puts them into a service."""

    def __init__(self, store: ScheduleStore) -> None:
        self._store = store

    def add_to(self, service: Service, token: str | None) -> None:
        name = wire.ScheduleName
        service.add("PutSchedule", unary(self.put, wire.PutScheduleRequest, wire.Schedule, token))
        service.add("GetSchedule", unary(self.get, name, wire.Schedule, token))
        service.add("ListSchedules", unary(self.list, wire.ListSchedulesRequest, wire.ListSchedulesReply, token))
        service.add("DeleteSchedule", unary(self.delete, name, wire.DeleteScheduleReply, token))
        service.add("PauseSchedule", unary(self.pause, wire.PauseScheduleRequest, wire.Schedule, token))
        service.add("ResumeSchedule", unary(self.resume, name, wire.Schedule, token))
        service.add("TriggerSchedule", unary(self.trigger, name, wire.Slot, token))
        backfill = unary(self.backfill, wire.BackfillScheduleRequest, wire.BackfillScheduleReply, token)
        service.add("BackfillSchedule", backfill)
        preview = unary(self.preview, wire.PreviewScheduleRequest, wire.PreviewScheduleReply, token)
        service.add("PreviewSchedule", preview)
        service.add("ListSlots", unary(self.slots, wire.ListSlotsRequest, wire.ListSlotsReply, token))

    async def put(self, request: wire.PutScheduleRequest) -> wire.Schedule:
        body = form.json_value("definition", request.definition)
        stored = await self._store.get(request.name) if is_name(request.name) else None
        before = None if stored is None else stored.definition
        wanted = _made(*read_schedule(body, datetime.now(UTC), name=request.name, stored=before))
        if stored is None:
            try:
                return _schedule(await self._store.create(wanted.name, wanted.definition, paused=bool(wanted.paused)))
            except Conflict:  # somebody created it at this very moment
                pass
        change = partial(_replaced, wanted)
        return _schedule(await self._store.change(wanted.name, change, definition=wanted.definition))

    async def get(self, request: wire.ScheduleName) -> wire.Schedule:
        return _schedule(await self._existing(request.name))

    async def list(self, request: wire.ListSchedulesRequest) -> wire.ListSchedulesReply:
        limit, before = form.page(request.limit, request.cursor)
        found = await self._store.find(limit=limit + 1, before_id=before)
        items: list[wire.Schedule] = []
        size = 0
        for one in found[:limit]:
            item = _schedule(one)
            size += len(bytes(item)) + 8
            if items and size > PAGE_BYTES:
                break
            items.append(item)
        cursor = str(found[len(items) - 1].id) if len(found) > len(items) else ""
        return wire.ListSchedulesReply(items=items, next_cursor=cursor)

    async def delete(self, request: wire.ScheduleName) -> wire.DeleteScheduleReply:
        await self._store.delete(_named(request.name))
        return wire.DeleteScheduleReply()

    async def pause(self, request: wire.PauseScheduleRequest) -> wire.Schedule:
        reason = None if request.reason is None else form.read(Text(MOST_REASON), "reason", request.reason)
        done = await self._store.change(_named(request.name), lambda one, now: (paused(one, reason, now), None))
        return _schedule(done)

    async def resume(self, request: wire.ScheduleName) -> wire.Schedule:
        return _schedule(await self._store.change(_named(request.name), lambda one, now: (resumed(one, now), None)))

    async def trigger(self, request: wire.ScheduleName) -> wire.Slot:
        return _slot(await self._store.trigger(_named(request.name)))

    async def backfill(self, request: wire.BackfillScheduleRequest) -> wire.BackfillScheduleReply:
        form.read(Instant(), "start", request.start)  # named as it is here
        span, found = interval({"from": request.start, "until": request.until}, datetime.now(UTC))
        if span is None:
            raise form.bad(found)
        done = await self._store.backfill(_named(request.name), *span, limit=BACKFILL)
        return wire.BackfillScheduleReply(posted=done.posted, waiting=done.waiting, already=done.already)

    async def preview(self, request: wire.PreviewScheduleRequest) -> wire.PreviewScheduleReply:
        count, _ = form.page(request.count, "", "count")
        found = preview(await self._existing(request.name), datetime.now(UTC), count)
        return wire.PreviewScheduleReply(items=[_previewed(one) for one in found])

    async def slots(self, request: wire.ListSlotsRequest) -> wire.ListSlotsReply:
        limit, before = form.page(request.limit, request.cursor)
        schedule = await self._existing(request.name)
        found = await self._store.slots(schedule.id, limit=limit + 1, before_id=before)
        cursor = str(found[limit - 1].id) if len(found) > limit else ""
        return wire.ListSlotsReply(items=[_slot(one) for one in found[:limit]], next_cursor=cursor)

    async def _existing(self, name: str) -> Schedule:
        schedule = await self._store.get(_named(name))
        if schedule is None:
            raise NotFound(f"there is no schedule {shown(name)}")
        return schedule


def _replaced(wanted: Wanted, schedule: Schedule, now: datetime) -> tuple[Schedule, GapEntry | None]:
    return replaced(schedule, wanted.definition, wanted.paused, now)


def _named(name: str) -> str:
    """Raises NotFound: what can't be a name names no schedule."""
    if not is_name(name):
        raise NotFound(f"there is no schedule {shown(name)}")
    return name


def _made(wanted: Wanted | None, found: Sequence[Wrong]) -> Wanted:
    if wanted is None:
        raise form.bad(found)
    return wanted


def _schedule(schedule: Schedule) -> wire.Schedule:
    return wire.Schedule(
        name=schedule.name,
        definition=json.dumps(written(schedule.definition), ensure_ascii=False, separators=(",", ":")),
        version=schedule.version,
        paused=schedule.paused,
        paused_reason=schedule.paused_reason or "",
        next_slot_at="" if schedule.paused else form.time_text(schedule.next_slot_at),
        last_slot_at=form.time_text(schedule.last_slot_at),
        created_at=form.time_text(schedule.created_at),
        updated_at=form.time_text(schedule.updated_at),
    )


def _slot(slot: Slot) -> wire.Slot:
    return wire.Slot(
        id=slot.id,
        slot_at=form.time_text(slot.slot_at),
        kind=slot.kind.value,
        state=slot.state.value,
        reason=slot.reason or "",
        task=slot.task_id or 0,
        run_at=form.time_text(slot.run_at),
        dst=slot.dst,
        version=slot.version,
        count=slot.count,
        until=form.time_text(slot.until),
    )


def _previewed(one: Previewed) -> wire.Previewed:
    return wire.Previewed(
        slot_at=form.time_text(one.slot_at),
        run_at=form.time_text(one.run_at),
        dst=one.dst,
        skipped=one.skipped or "",
    )
