"""What the actors and the api ask of the store about schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from actors.model.firing import Firing, GapEntry, Previous
from actors.model.schedule import Definition, Health, Schedule, Slot

# From a locked schedule and the database's time: what becomes of it, and an entry for what it leaves unfired.
Change = Callable[[Schedule, datetime], tuple[Schedule, GapEntry | None]]
# From locked schedules that are due and the database's time: steps for some or all of them.
Plan = Callable[[datetime, Sequence[tuple[Schedule, Previous]]], Sequence[Firing]]


@dataclass(frozen=True, slots=True)
class Fired:
    """What one transaction did."""

    schedules: int  # that got a step
    tasks: int  # that were posted


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What became of the nominal times of an interval."""

    posted: int
    waiting: int  # one after the other, as overlap wants it
    already: int  # had fired, or wait already


class ScheduleStore(Protocol):
    """Trio-flavoured. Raises the StorageError family; NotFound where a schedule is named that is not there."""

    async def create(self, name: str, definition: Definition, *, paused: bool) -> Schedule:
        """Raises Conflict when there is one of this name."""
        ...

    async def change(self, name: str, change: Change, *, definition: Definition | None = None) -> Schedule:
        """In one transaction, under the schedule's lock. `definition`: the one that `change` may give it.

        What `change` raises goes to the caller, and nothing has happened then.
        """
        ...

    async def get(self, name: str) -> Schedule | None: ...
    async def find(self, *, limit: int, before_id: int | None) -> list[Schedule]:
        """Newest first (falling id), below `before_id`."""
        ...

    async def delete(self, name: str) -> None:
        """Its tasks stay; what waits is skipped."""
        ...

    async def trigger(self, name: str) -> Slot:
        """One slot now, whether paused or not. Raises Conflict where `overlap` refuses it."""
        ...

    async def backfill(self, name: str, start: datetime, until: datetime, *, limit: int) -> Backfilled:
        """Posts the nominal times from `start` to `until` that have not fired, oldest first.

        Raises BadValue when there are more than `limit`.
        """
        ...

    async def slots(self, schedule_id: int, *, limit: int, before_id: int | None) -> list[Slot]:
        """The ledger, latest entry first."""
        ...

    async def look(self) -> Health: ...
    async def fire(self, plan: Plan, *, limit: int) -> Fired:
        """One transaction over at most `limit` due schedules that nobody else has locked; repeatable."""
        ...

    async def post_waiting(self, *, limit: int) -> int:
        """Posts slots whose task before has ended; how many."""
        ...

    async def retime(self, data_version: str, *, limit: int) -> int:
        """Computes anew when schedules are due that were computed with older time zone data; how many."""
        ...

    async def prune(self, limit: int) -> int:
        """Deletes ledger entries older than 30 days; how many."""
        ...
