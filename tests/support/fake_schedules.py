"""A ScheduleStore in a dict: for the shapes of HTTP answers, not for what PostgreSQL does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import trio

from actors.model.errors import Conflict, NotFound, StorageUnavailable
from actors.model.firing import Previous, decide_trigger
from actors.model.schedule import Definition, Schedule, Slot, SlotKind, SlotState
from actors.model.schedule_changes import created
from actors.model.schedule_changes import paused as pause_of
from actors.model.schedule_port import Backfilled, Change


class FakeSchedules:
    """Begins with one, named nightly, that has fired once. Set `away` to make every call raise StorageUnavailable."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        definition = Definition(task={"name": "job"}, cron="30 2 * * *", timezone="Europe/Berlin")
        self.held = {"nightly": created("nightly", definition, now, id=1)}
        self.entries = [
            Slot(id=1, slot_at=now, kind=SlotKind.NOMINAL, state=SlotState.FIRED, reason=None, task_id=1, run_at=now,
                 dst="", version=1, count=1, until=None, created_at=now),
            Slot(id=2, slot_at=now, kind=SlotKind.NOMINAL, state=SlotState.GAP, reason="paused", task_id=None,
                 run_at=None, dst="", version=1, count=7, until=now, created_at=now),
        ]  # fmt: skip
        self.away = False

    async def _here(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StorageUnavailable("secret host 10.0.0.1 refuses")

    async def create(self, name: str, definition: Definition, *, paused: bool) -> Schedule:
        await self._here()
        if name in self.held:
            raise Conflict(f"there is a schedule {name}")
        now = datetime.now(UTC)
        made = created(name, definition, now, id=len(self.held) + 1)
        self.held[name] = pause_of(made, None, now) if paused else made
        return self.held[name]

    async def change(self, name: str, change: Change, *, definition: Definition | None = None) -> Schedule:
        await self._here()
        self.held[name], _ = change(self._existing(name), datetime.now(UTC))
        return self.held[name]

    async def get(self, name: str) -> Schedule | None:
        await self._here()
        return self.held.get(name)

    async def find(self, *, limit: int, before_id: int | None) -> list[Schedule]:
        await self._here()
        ordered = sorted(self.held.values(), key=lambda one: -one.id)
        return [one for one in ordered if before_id is None or one.id < before_id][:limit]

    async def delete(self, name: str) -> None:
        await self._here()
        self._existing(name)
        if name != "nightly":
            del self.held[name]

    async def trigger(self, name: str) -> Slot:
        await self._here()
        now = datetime.now(UTC)
        firing = decide_trigger(self._existing(name), now, Previous())
        return replace(self.entries[0], kind=SlotKind.TRIGGER, slot_at=firing.fire[0].at)

    async def backfill(self, name: str, start: datetime, until: datetime, *, limit: int) -> Backfilled:
        await self._here()
        self._existing(name)
        return Backfilled(3, 0, 1)

    async def slots(self, schedule_id: int, *, limit: int, before_id: int | None) -> list[Slot]:
        await self._here()
        ordered = sorted(self.entries, key=lambda one: -one.id)
        return [one for one in ordered if before_id is None or one.id < before_id][:limit]

    def _existing(self, name: str) -> Schedule:
        if name not in self.held:
            raise NotFound(f"there is no schedule {name}")
        return self.held[name]
