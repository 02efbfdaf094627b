"""How a schedule's definition is written down, and the tasks that it posts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from actors.model.firing import Planned
from actors.model.lane import LaneKey
from actors.model.lane import lane_key as lane_key_of
from actors.model.recurrence import Fold, Gap
from actors.model.schedule import CatchUp, Definition, Overlap, Schedule
from actors.model.submission import TASK
from actors.model.task import NewTask

# What a slot's task carries in its metadata: for which nominal time it was posted.
SLOT_KEY = "callboard.slot_at"
TIMES_OF_TASKS = frozenset({"run_at", "delay", "expires_at"})  # the schedule decides
# Of one task among others: `overlap` says what two tasks of a schedule are to each other.
OF_ONE = frozenset({"depends_on", "on_parent_failure", "inputs", "unique_key", "unique_until", "on_duplicate"})
TEMPLATE = tuple(name for name in TASK if name not in TIMES_OF_TASKS | OF_ONE)
_KINDS: Mapping[str, type] = {"dst_gap": Gap, "dst_fold": Fold, "overlap": Overlap, "catch_up": CatchUp}
_TIMES = ("at", "start_at", "end_at")


def written(definition: Definition) -> dict[str, Any]:
    """Every field, in JSON's own types."""
    made: dict[str, Any] = {}
    for one in fields(definition):
        value = getattr(definition, one.name)
        made[one.name] = time_text(value) if isinstance(value, datetime) else value
    return {**made, "task": dict(definition.task), **{name: str(made[name]) for name in _KINDS}}


def definition_of(value: Mapping[str, Any]) -> Definition:
    """From what `written` gave. Fields of a later release are left out."""
    known = {one.name for one in fields(Definition)}
    made = {name: one for name, one in value.items() if name in known}
    for name in _TIMES:
        if made.get(name) is not None:
            made[name] = datetime.fromisoformat(made[name])
    for name, kind in _KINDS.items():
        if name in made:
            made[name] = kind(made[name])
    return Definition(**made)


def template_of(task: NewTask, args: Any) -> dict[str, Any]:
    """What a checked submission says beyond the defaults."""
    plain = NewTask(name="")
    made = {name: getattr(task, name) for name in TEMPLATE if getattr(task, name) != getattr(plain, name)}
    return {**made, "args": args}


def new_task(schedule: Schedule, plan: Planned) -> NewTask:
    """The task of one slot."""
    template = dict(schedule.definition.task)
    args = json.dumps(template.pop("args", {}), ensure_ascii=False, separators=(",", ":"))
    metadata = {**template.pop("metadata", {}), SLOT_KEY: time_text(plan.at)}
    return NewTask(args=args, metadata=metadata, run_at=plan.run_at, schedule_id=schedule.id, **template)


def lane_key(definition: Definition) -> LaneKey:
    """Of its tasks."""
    told = {name: value for name, value in definition.task.items() if name in TEMPLATE and name != "args"}
    return lane_key_of(NewTask(**told))


def time_text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
