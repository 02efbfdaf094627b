"""What clients are shown of schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from typing_extensions import TypedDict

from actors.model.preview import Previewed
from actors.model.schedule import Schedule, Slot
from actors.model.schedule_form import written
from actors.model.schedule_port import Backfilled


class ScheduleJson(TypedDict):
    name: str
    cron: str | None
    every: float | None
    at: datetime | None
    seconds: bool
    timezone: str
    dst_gap: Literal["shift", "skip"]
    dst_fold: Literal["first", "last", "both"]
    overlap: Literal["allow", "skip", "queue_one", "cancel_running"]
    catch_up: Literal["none", "last", "all"]
    catch_up_window: float
    catch_up_cap: int
    jitter: float
    start_at: datetime | None
    end_at: datetime | None
    task: dict[str, Any]
    paused: bool
    paused_reason: str | None
    paused_at: datetime | None
    version: int
    next_slot_at: datetime | None
    last_slot_at: datetime | None
    created_at: datetime
    updated_at: datetime


class SlotJson(TypedDict):
    id: str
    slot_at: datetime
    kind: Literal["nominal", "trigger", "backfill"]
    state: Literal["fired", "waiting", "skipped", "gap"]
    reason: str | None
    task: str | None
    run_at: datetime | None
    dst: Literal["", "shifted", "repeated"]
    version: int
    count: int
    until: datetime | None
    created_at: datetime


class PreviewedJson(TypedDict):
    slot_at: datetime
    local: str
    run_at: datetime
    dst: Literal["", "shifted", "repeated"]
    skipped: str | None


class BackfillJson(TypedDict):
    posted: int
    waiting: int
    already: int


class DeletedJson(TypedDict):
    name: str
    deleted: Literal[True]


class SchedulePage(TypedDict):
    items: list[ScheduleJson]
    next_cursor: str | None


class SlotPage(TypedDict):
    items: list[SlotJson]
    next_cursor: str | None


class PreviewPage(TypedDict):
    items: list[PreviewedJson]
    next_cursor: None


def schedule_json(schedule: Schedule) -> ScheduleJson:
    shown: Any = {
        "name": schedule.name,
        **written(schedule.definition),
        "paused": schedule.paused,
        "paused_reason": schedule.paused_reason,
        "paused_at": schedule.paused_at,
        "version": schedule.version,
        "next_slot_at": None if schedule.paused else schedule.next_slot_at,
        "last_slot_at": schedule.last_slot_at,
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
    }
    made: ScheduleJson = shown
    return made


def slot_json(slot: Slot) -> SlotJson:
    shown: Any = {
        "id": str(slot.id),
        "slot_at": slot.slot_at,
        "kind": slot.kind,
        "state": slot.state,
        "reason": slot.reason,
        "task": None if slot.task_id is None else str(slot.task_id),
        "run_at": slot.run_at,
        "dst": slot.dst,
        "version": slot.version,
        "count": slot.count,
        "until": slot.until,
        "created_at": slot.created_at,
    }
    made: SlotJson = shown
    return made


def previewed_json(one: Previewed, timezone: str) -> PreviewedJson:
    shown: Any = {
        "slot_at": one.slot_at,
        "local": one.slot_at.astimezone(ZoneInfo(timezone)).isoformat(),
        "run_at": one.run_at,
        "dst": one.dst,
        "skipped": one.skipped,
    }
    made: PreviewedJson = shown
    return made


def backfill_json(done: Backfilled) -> BackfillJson:
    return {"posted": done.posted, "waiting": done.waiting, "already": done.already}
