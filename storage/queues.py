"""Queues and paused handlers: the QueueStore over PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from actors.model.queue import HandlerView, PausedName, QueuePatch, QueueView, Rate
from storage.connect import Connection
from storage.notify import Notifier
from storage.overview import COUNTED
from storage.pool import Pool
from storage.queries import sql
from storage.sanitize import storable


class PostgresQueues:
    """Implements the port."""

    def __init__(self, pool: Pool, notifier: Notifier) -> None:
        self._pool, self._notifier = pool, notifier

    async def queues(self) -> list[QueueView]:
        return [_view(row) for row in await self._pool.fetch_fitted(sql("queues"), COUNTED, None)]

    async def queue(self, name: str) -> QueueView:
        return _view((await self._pool.fetch_fitted(sql("queues"), COUNTED, name))[0])

    async def set_queue(self, name: str, patch: QueuePatch) -> QueueView:
        values = (
            name, sorted(patch.fields), patch.concurrency, patch.concurrency_per_key, *_columns(patch.rate),
            *_columns(patch.rate_per_key), patch.paused, storable(patch.paused_reason) if patch.paused_reason else None,
            patch.keep_succeeded, patch.keep_unsuccessful,
        )  # fmt: skip

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute(sql("set_queue"), *values)
                await connection.execute(sql("count_stragglers"), [name])

        await self._pool.run(work)
        await self._notifier.announce("due")
        return await self.queue(name)

    async def paused_names(self) -> list[PausedName]:
        rows = await self._pool.fetch("SELECT name, reason, paused_at FROM callboard_paused_names ORDER BY name")
        return [PausedName(**dict(row)) for row in rows]

    async def pause_name(self, name: str, reason: str | None) -> None:
        await self._pool.execute(
            "INSERT INTO callboard_paused_names (name, reason) VALUES ($1, $2)"
            " ON CONFLICT (name) DO UPDATE SET reason = excluded.reason",
            name, storable(reason) if reason else None,
        )  # fmt: skip
        await self._notifier.announce("due")

    async def resume_name(self, name: str) -> None:
        await self._pool.execute("DELETE FROM callboard_paused_names WHERE name = $1", name)
        await self._notifier.announce("due")

    async def handlers(self) -> list[HandlerView]:
        return [HandlerView(**dict(row)) for row in await self._pool.fetch_fitted(sql("handlers"))]


def _columns(rate: Rate | None) -> tuple[int | None, float | None]:
    return (None, None) if rate is None else (rate.limit, rate.period)


def _view(row: asyncpg.Record) -> QueueView:
    values: Mapping[str, Any] = dict(row)
    plain = {name: value for name, value in values.items() if not name.startswith(("rate_", "key_rate_"))}
    return QueueView(
        **plain,
        rate=_rate(row["rate_limit"], row["rate_period"]),
        rate_per_key=_rate(row["key_rate_limit"], row["key_rate_period"]),
    )


def _rate(limit: int | None, period: float | None) -> Rate | None:
    return None if limit is None or period is None else Rate(limit, period)
