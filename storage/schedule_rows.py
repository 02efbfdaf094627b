"""Schedules and slots ↔ their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import asyncpg

from actors.model import zones
from actors.model.firing import Firing
from actors.model.schedule import Schedule, Slot, SlotKind, SlotState
from actors.model.schedule_form import definition_of, written

_FIELDS = tuple(one.name for one in fields(Schedule))
_SAVED = (
    "anchor", "counted_to", "next_slot_at", "last_slot_at", "paused", "paused_reason", "paused_at", "catching_up",
    "skip_until", "skip_reason", "gap_from", "updated_at",
)  # fmt: skip
SLOT_COLUMNS = "id, slot_at, kind, state, reason, task_id, run_at, dst, version, count, until, created_at"


def a_schedule(row: asyncpg.Record) -> Schedule:
    """A row of schedule.sql."""
    made: dict[str, Any] = {name: row[name] for name in _FIELDS}
    made["definition"] = definition_of(json.loads(made["definition"]))
    return Schedule(**made)


def a_slot(row: asyncpg.Record) -> Slot:
    """A row of SLOT_COLUMNS."""
    made = dict(row)
    return Slot(**{**made, "kind": SlotKind(made["kind"]), "state": SlotState(made["state"])})


def definition_text(schedule: Schedule) -> str:
    return json.dumps(written(schedule.definition), ensure_ascii=False)


def saved(changes: Sequence[tuple[Schedule, Schedule]], lane: int | None = None) -> list[Any]:
    """The parameters of save_schedules.sql, from schedules before and after. `lane` goes with new definitions."""
    return [
        [after.id for _, after in changes],
        [before.version for before, _ in changes],
        [after.version for _, after in changes],
        [None if after.definition is before.definition else definition_text(after) for before, after in changes],
        [None if after.definition is before.definition else lane for before, after in changes],
        *([getattr(after, name) for _, after in changes] for name in _SAVED),
        zones.data_version(),
    ]


def entered(firings: Iterable[Firing], kind: SlotKind) -> list[list[Any]]:
    """The parameters of enter_slots.sql."""
    rows: list[tuple[Any, ...]] = []
    for firing in firings:
        id, version = firing.schedule.id, firing.schedule.version
        for state, plans in ((SlotState.FIRED, firing.fire), (SlotState.WAITING, firing.wait)):
            rows += [(id, one.at, kind, state, None, one.run_at, one.dst, version, 1, None) for one in plans]
        for skip in firing.skip:
            rows.append((id, skip.at, kind, SlotState.SKIPPED, skip.reason, None, skip.dst, version, 1, None))
        for gap in firing.gaps:
            rows.append((id, gap.first, kind, SlotState.GAP, gap.reason, None, "", version, gap.count, gap.last))
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(10)]
