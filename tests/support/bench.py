"""The store on a bench: a real database, short words for what tests do over and over."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg
import trio_asyncio

from actors.model.columns import Assignment, Outcome, Outcomes, Verdict
from actors.model.ports import DispatchStore, TaskStore, Wakeups
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo
from storage.store import open_store
from storage.url import DatabaseUrl

LEASE = 12.0


class Database:
    """Raw SQL, to arrange and to look. Trio-flavoured."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url
        self._connection: Any = None

    async def open(self) -> None:
        async def connect() -> Any:
            return await asyncpg.connect(
                **self.url.connect_arguments(), server_settings={"search_path": self.url.search_path}
            )

        self._connection = await trio_asyncio.aio_as_trio(connect)()

    def close(self) -> None:
        self._connection.terminate()

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        return list(await trio_asyncio.aio_as_trio(self._connection.fetch)(query, *args))

    async def row(self, query: str, *args: Any) -> Any:
        return await trio_asyncio.aio_as_trio(self._connection.fetchrow)(query, *args)

    async def value(self, query: str, *args: Any) -> Any:
        return await trio_asyncio.aio_as_trio(self._connection.fetchval)(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        return str(await trio_asyncio.aio_as_trio(self._connection.execute)(query, *args))


@dataclass(frozen=True)
class Moment:
    """A time by the store's clock, when it is used."""

    ahead: float  # seconds


NOW = Moment(0.0)


def ago(seconds: float) -> Moment:
    return Moment(-seconds)


def later(seconds: float) -> Moment:
    return Moment(seconds)


def literal(value: Any) -> str:
    """A value in SQL; it takes the type of its column."""
    match value:
        case None:
            return "NULL"
        case bool() | int() | float():
            return str(value)
        case Moment(ahead):
            return f"clock_timestamp() + interval '{ahead} seconds'"
        case bytes():
            return f"'{value.hex()}'"
        case list():
            return f"ARRAY[{', '.join(map(literal, value))}]::text[]"
        case _:
            return "'" + str(value).replace("'", "''") + "'"


def plain(row: Any) -> dict[str, Any]:
    """A row as both stores show it: lease keys are bytes."""
    return {name: value.bytes if isinstance(value, uuid.UUID) else value for name, value in dict(row).items()}


@dataclass
class Bench:
    """What a conformance test works with, over PostgreSQL. Values of columns are Python's, or a Moment."""

    database: Database
    tasks: TaskStore
    dispatch: DispatchStore
    notifier: Wakeups
    address: str  # of the database
    illegal: type[Exception] = asyncpg.IntegrityConstraintViolationError  # raised by what the trigger refuses
    meaningless: type[Exception] = asyncpg.CheckViolationError  # raised by a row that can't be

    async def lane(self, name: str = "demo", queue: str | None = None) -> int:
        found = await self.database.value(
            "SELECT id FROM callboard_lanes WHERE name = $1 AND queue IS NOT DISTINCT FROM $2", name, queue
        )
        insert = "INSERT INTO callboard_lanes (name, queue) VALUES ($1, $2) RETURNING id"
        return int(found or await self.database.value(insert, name, queue))

    async def put(self, count: int = 1, *, name: str = "demo", **columns: Any) -> list[int]:
        """Tasks written by hand, due since a second."""
        columns = {"run_at": ago(1), **columns}
        rows = await self.database.fetch(
            f"INSERT INTO callboard_tasks (lane_id, {', '.join(columns)})"
            f" SELECT $1, {', '.join(map(literal, columns.values()))} FROM generate_series(1, $2) RETURNING id",
            await self.lane(name),
            count,
        )
        return [row["id"] for row in rows]

    async def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        """Those of callboard_`table` that have these values, in a fixed order."""
        found = await self.database.fetch(f"SELECT * FROM callboard_{table}{_where(where)} ORDER BY 1")
        return [plain(row) for row in found]

    async def change(self, table: str, where: dict[str, Any] | None = None, **columns: Any) -> None:
        """Changes by hand of rows that have the values of `where`."""
        changes = ", ".join(f"{name} = {literal(value)}" for name, value in columns.items())
        await self.database.execute(f"UPDATE callboard_{table} SET {changes}{_where(where or {})}")

    async def add_attempt(self, task_id: int, attempt: int, **columns: Any) -> None:
        """An ended attempt written by hand."""
        columns = {"task_id": task_id, "attempt": attempt, **columns}
        values = ", ".join(map(literal, columns.values()))
        await self.database.execute(f"INSERT INTO callboard_attempts ({', '.join(columns)}) VALUES ({values})")

    async def clock(self) -> datetime:
        """Database time."""
        now: datetime = await self.database.value("SELECT clock_timestamp()")
        return now

    @asynccontextmanager
    async def with_default_timeout(self, seconds: float) -> AsyncIterator[Bench]:
        """The same tables by a node of this setting."""
        async with open_store(self.address, default_timeout=seconds) as store:
            yield replace(self, dispatch=store.dispatch)

    # --- the same over every store ----------------------------------------------------------------

    async def task(self, task_id: int) -> dict[str, Any]:
        [row] = await self.rows("tasks", id=task_id)
        return row

    async def attempts(self, task_id: int) -> list[dict[str, Any]]:
        return await self.rows("attempts", task_id=task_id)

    async def seconds_until(self, when: datetime) -> float:
        return (when - await self.clock()).total_seconds()

    async def handler(self, name: str = "demo", **declared: Any) -> None:
        await self.dispatch.declare([HandlerInfo(name=name, **declared)])

    async def session(self, worker: str = "w1", *, coordinator: str = "c1", lease: float = LEASE) -> Session:
        info = WorkerInfo(id=worker, name=worker, slots=10, handlers=[HandlerInfo(name="demo")])
        return await self.dispatch.open_session(info, secret_hash=b"secret", coordinator_id=coordinator, lease=lease)

    async def claim(
        self, session: Session, count: int = 10, *, names: Sequence[str] = ("demo",), key: bytes | None = None
    ) -> Assignment | None:
        """One worker's claim; None when it got nothing."""
        shares, _ = await self.dispatch.claim(
            lease_key=key or os.urandom(16),
            lanes=[await self.lane(name) for name in names],
            sessions=[(session.id, session.epoch)],
            slots=[0] * count,
            ack_window=5.0,
            claim_margin=2.0,
        )
        return shares[0].assignment if shares else None

    async def held(self, session: Session | None = None, **columns: Any) -> Held:
        """One task, claimed."""
        await self.put(1, **columns)
        assignment = await self.claim(session or await self.session(), 1)
        assert assignment is not None
        return Held(assignment.ids[0], assignment.attempts[0], assignment.lease_key)

    async def end(self, held: Held, kind: Outcome, body: Any = None) -> Verdict:
        """One outcome."""
        return (await self.dispatch.complete(outcomes([held], kind, body)))[0]

    async def idle_backoffs(self) -> None:
        """As if every back-off were over."""
        await self.change("tasks", {"state": "queued"}, run_at=ago(1))


def _where(columns: dict[str, Any]) -> str:
    return " WHERE " + " AND ".join(f"{name} = {literal(value)}" for name, value in columns.items()) if columns else ""


def outcomes(held: Sequence[Held], kind: Outcome, body: Any = None) -> Outcomes:
    """The same outcome for all; `body` is bytes as they are, else made JSON."""
    default: Any = None if kind is Outcome.SUCCEEDED else {"type": "ValueError", "message": "no", "traceback": "…"}
    raw = body if isinstance(body, bytes) else json.dumps(default if body is None else body).encode()
    keys = list(dict.fromkeys(one.lease_key for one in held))
    return Outcomes(
        keys=keys,
        key_index=[keys.index(one.lease_key) for one in held],
        ids=[one.task_id for one in held],
        attempts=[one.attempt for one in held],
        kinds=[int(kind)] * len(held),
        sizes=[len(raw)] * len(held),
        bodies=raw * len(held),
    )
