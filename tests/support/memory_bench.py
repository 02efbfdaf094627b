"""The store in memory on a bench, with the same short words as the one over PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast

from actors.model.errors import BadValue
from actors.model.lane import LaneKey
from storage.memory.dispatch import MemoryDispatch
from storage.memory.legality import IllegalChange
from storage.memory.rows import AttemptRow, TaskRow
from storage.memory.store import Memory
from storage.memory.tables import Changes
from storage.memory.values import stored
from tests.support.bench import Bench, Database, Moment, ago

START, TICK = 1_800_000_000.0, 1e-4  # seconds: time passes by being asked for
JSON = {"args", "result", "error", "progress", "backoff", "metadata", "evidence"}
TABLES = {"workers": "sessions", "idempotency_keys": "keys"}  # where the names differ


class Clock:
    """Steps by itself a little, and by hand."""

    def __init__(self) -> None:
        self.time, self._ticks = START, count(1)

    def __call__(self) -> float:
        return self.time + next(self._ticks) * TICK


class NoDatabase:
    """There is no SQL here."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a test of both stores used SQL ({name})")


@dataclass
class MemoryBench(Bench):
    """What a conformance test works with, over the store in memory."""

    memory: Memory = None  # type: ignore[assignment]  # fields before it have defaults
    illegal: type[Exception] = IllegalChange
    meaningless: type[Exception] = BadValue

    async def lane(self, name: str = "demo", queue: str | None = None) -> int:
        return self.memory.tables.lane(LaneKey(name, queue))

    async def put(self, count: int = 1, *, name: str = "demo", **columns: Any) -> list[int]:
        tables, lane = self.memory.tables, await self.lane(name)
        values = {"run_at": ago(1), "created_at": ago(0), **columns}
        rows = [TaskRow(id=tables.next_id("task"), lane_id=lane, **self._values(values)) for _ in range(count)]
        tables.apply(Changes(tasks={row.id: row for row in rows}))
        return [row.id for row in rows]

    async def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        found = [asdict(row) for row in self._table(table).values() if _fits(row, where)]
        return sorted(found, key=lambda row: next(iter(row.values())))

    async def change(self, table: str, where: dict[str, Any] | None = None, **columns: Any) -> None:
        values, rows = self._values(columns), self._table(table)
        changed = {key: replace(row, **values) for key, row in rows.items() if _fits(row, where or {})}
        self._apply(TABLES.get(table, table), changed)

    async def add_attempt(self, task_id: int, attempt: int, **columns: Any) -> None:
        number = self.memory.tables.next_id("attempt")
        values = {"ended_at": ago(0), **columns}
        row = AttemptRow(id=number, task_id=task_id, attempt=attempt, **self._values(values))
        self.memory.tables.apply(Changes(attempts=[row]))

    async def clock(self) -> datetime:
        return self.memory.tables.now()

    @asynccontextmanager
    async def with_default_timeout(self, seconds: float) -> AsyncIterator[Bench]:
        yield replace(self, dispatch=MemoryDispatch(self.memory.tables, self.memory.wakeups, seconds))

    def _table(self, name: str) -> dict[Any, Any]:
        tables = self.memory.tables
        if name == "attempts":
            return {row.id: row for rows in tables.attempts.values() for row in rows}
        found: dict[Any, Any] = getattr(tables, TABLES.get(name, name))
        return found

    def _apply(self, table: str, rows: dict[Any, Any]) -> None:
        changes = Changes()
        getattr(changes, table).update(rows)
        self.memory.tables.apply(changes)

    def _values(self, columns: dict[str, Any]) -> dict[str, Any]:
        now = self.memory.tables.now()
        return {name: _value(name, value, now) for name, value in columns.items()}


def _value(name: str, value: Any, now: datetime) -> Any:
    match value:
        case Moment(ahead):
            return now + timedelta(seconds=ahead)
        case datetime():
            return value.astimezone(UTC)
        case list():
            return tuple(value)
        case str() if name in JSON:
            return stored(value)
        case _:
            return value


def _fits(row: Any, where: dict[str, Any]) -> bool:
    return all(getattr(row, name) == value for name, value in where.items())


def memory_bench(*, default_timeout: float | None = None) -> MemoryBench:
    """An empty store whose clock is the bench's."""
    memory = Memory(Clock(), default_timeout=default_timeout)
    nothing = cast("Database", NoDatabase())
    return MemoryBench(nothing, memory.tasks, memory.dispatch, memory.wakeups, "in memory", memory=memory)
