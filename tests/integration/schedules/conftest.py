"""Schedules on a real PostgreSQL, with short words for what tests do over and over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from actors.model.firing import Firing, Previous, decide
from actors.model.schedule import Definition, Schedule
from storage.schedules import PostgresSchedules
from storage.store import Store, open_store
from storage.url import parse_url
from tests.support.bench import Database
from tests.support.postgres import database_url, empty_url, loop, postgres_server

__all__ = ["Book", "book", "database", "database_url", "empty_url", "loop", "postgres_server", "store"]


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(parse_url(database_url))
    await opened.open()
    yield opened
    opened.close()


def plan(now: datetime, due: Sequence[tuple[Schedule, Previous]]) -> list[Firing]:
    return [decide(schedule, now, previous) for schedule, previous in due]


@dataclass
class Book:
    """The schedules of one test, and their ledger."""

    store: Store
    database: Database

    @property
    def schedules(self) -> PostgresSchedules:
        return self.store.schedules

    async def add(self, name: str = "s", *, since: float = 0, **fields: Any) -> Schedule:
        """A schedule that was made `since` seconds ago, and of which nobody has fired anything."""
        rule = {} if fields.keys() & {"cron", "every", "at"} else {"every": 60.0}
        definition: Any = {"task": {"name": "job"}, **rule, **fields}
        made = await self.schedules.create(name, Definition(**definition), paused=False)
        if since:
            await self.age(since, name)
        found = await self.schedules.get(name)
        assert found is not None
        assert found.id == made.id
        return found

    async def age(self, seconds: float, name: str = "s") -> None:
        """As if the last `seconds` had passed without a scheduler."""
        back = f"- interval '{seconds} seconds'"
        await self.database.execute(
            f"UPDATE callboard_schedules SET anchor = anchor {back}, counted_to = counted_to {back},"
            f" next_slot_at = next_slot_at {back}, last_slot_at = last_slot_at {back} WHERE name = $1",
            name,
        )
        await self.database.execute(
            f"UPDATE callboard_schedule_slots SET slot_at = slot_at {back}, until = until {back} WHERE schedule_id ="
            " (SELECT id FROM callboard_schedules WHERE name = $1)",
            name,
        )

    async def fire(self, limit: int = 200) -> tuple[int, int]:
        fired = await self.schedules.fire(plan, limit=limit)
        return fired.schedules, fired.tasks

    async def ledger(self, name: str = "s") -> list[tuple[str, int]]:
        """State and count of each entry, oldest first."""
        rows = await self.database.fetch(
            "SELECT w.state, w.count FROM callboard_schedule_slots w JOIN callboard_schedules s ON s.id = w.schedule_id"
            " WHERE s.name = $1 ORDER BY w.slot_at, w.id",
            name,
        )
        return [(row["state"], row["count"]) for row in rows]

    async def unfinished(self) -> list[int]:
        rows = await self.database.fetch(
            "SELECT id FROM callboard_tasks WHERE schedule_id IS NOT NULL AND finished_at IS NULL ORDER BY id"
        )
        return [row["id"] for row in rows]

    async def finish(self, task: int) -> None:
        await self.database.execute(
            "UPDATE callboard_tasks SET state = 'cancelled', finished_at = clock_timestamp() WHERE id = $1", task
        )


@pytest.fixture
def book(store: Store, database: Database) -> Book:
    return Book(store, database)
