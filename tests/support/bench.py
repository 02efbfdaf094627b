"""The store on a bench: a real database, short words for what tests do over and over."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import trio_asyncio

from actors.model.columns import Assignment, Outcome, Outcomes, Verdict
from actors.model.ports import DispatchStore, TaskStore
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo
from storage.notify import Notifier
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


@dataclass
class Bench:
    """What a conformance test works with."""

    database: Database
    tasks: TaskStore
    dispatch: DispatchStore
    notifier: Notifier
    address: str  # of the database

    async def lane(self, name: str = "demo", queue: str | None = None) -> int:
        found = await self.database.value(
            "SELECT id FROM callboard_lanes WHERE name = $1 AND queue IS NOT DISTINCT FROM $2", name, queue
        )
        insert = "INSERT INTO callboard_lanes (name, queue) VALUES ($1, $2) RETURNING id"
        return int(found or await self.database.value(insert, name, queue))

    async def put(self, count: int = 1, *, name: str = "demo", **columns: Any) -> list[int]:
        """Tasks written by hand; `columns` are SQL expressions."""
        lane = await self.lane(name)
        names = "".join(f", {column}" for column in columns)
        values = "".join(f", {expression}" for expression in columns.values())
        rows = await self.database.fetch(
            f"INSERT INTO callboard_tasks (lane_id, run_at{names})"
            f" SELECT $1, clock_timestamp() - interval '1 second'{values} FROM generate_series(1, $2) RETURNING id",
            lane,
            count,
        )
        return [row["id"] for row in rows]

    async def task(self, task_id: int) -> dict[str, Any]:
        return dict(await self.database.row("SELECT * FROM callboard_tasks WHERE id = $1", task_id))

    async def attempts(self, task_id: int) -> list[dict[str, Any]]:
        rows = await self.database.fetch("SELECT * FROM callboard_attempts WHERE task_id = $1 ORDER BY id", task_id)
        return [dict(row) for row in rows]

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
        await self.database.execute(
            "UPDATE callboard_tasks SET run_at = clock_timestamp() - interval '1 second' WHERE state = 'queued'"
        )


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
