"""Many tasks at once, in transactions of a thousand, so that nobody waits for long behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import asyncpg

from actors.model.bulk import BulkDone, Selection
from actors.model.ports import TaskFilter
from storage.connect import Connection
from storage.notify import Notifier
from storage.pool import Pool, never
from storage.queries import sql
from storage.retry import post_all_again
from storage.tasks import conditions_of

BATCH = 1_000
UNSUCCESSFUL = ("failed", "expired", "quarantined")
_NOT_RETRIED = "NOT EXISTS (SELECT FROM callboard_tasks r WHERE r.retry_of = t.id)"


class PostgresBulk:
    """Implements BulkStore."""

    def __init__(self, pool: Pool, notifier: Notifier) -> None:
        self._pool, self._notifier = pool, notifier

    async def cancel_many(self, selection: Selection) -> BulkDone:
        if selection.where is not None:
            ids, more = await self._matching(selection.where, selection.limit, "t.finished_at IS NULL")
            skipped = Counter[str]()
        else:
            ids, skipped = await self._sorted(selection, "finished_at IS NULL", "final")
            more = len(ids) > selection.limit
            ids = ids[: selection.limit]
        done = Counter[str]()
        for part in _parts(() if selection.dry_run else ids):
            done.update(dict(await self._pool.run(partial(_cancel, part))))
            await self._tell("wishes")
            self._notifier.final()
            self._notifier.parents()
        return BulkDone(matched=len(ids), done=_counts(done, "cancelled", "cancelling"), skipped=skipped, more=more)

    async def retry_many(self, selection: Selection, *, submitted_by: str | None) -> BulkDone:
        if selection.where is not None:
            where = selection.where if selection.where.states else replace(selection.where, states=UNSUCCESSFUL)
            ids, more = await self._matching(where, selection.limit, f"t.finished_at IS NOT NULL AND {_NOT_RETRIED}")
            skipped = Counter[str]()
        else:
            ids, skipped = await self._sorted(selection, "finished_at IS NOT NULL", "unfinished")
            more = len(ids) > selection.limit
            ids = ids[: selection.limit]
        done = Counter[str]()
        for part in _parts(() if selection.dry_run else ids):
            posted = await self._retry(part, submitted_by)
            done["retried"] += posted
            skipped["retried"] += len(part) - posted
            self._notifier.parents()
            await self._tell("due")
        return BulkDone(matched=len(ids), done=_counts(done, "retried"), skipped=+skipped, more=more)

    async def _retry(self, ids: Sequence[int], submitted_by: str | None) -> int:
        async def work(connection: Connection) -> int:
            async with connection.transaction():
                return await post_all_again(connection, ids, submitted_by)

        return await self._pool.run(work, repeatable=never)

    async def _matching(self, where: TaskFilter, limit: int, condition: str) -> tuple[list[int], bool]:
        """The oldest that match, and whether there are more."""
        conditions, values = conditions_of(where)
        rows = await self._pool.fetch_fitted(
            f"SELECT t.id FROM callboard_tasks t WHERE {' AND '.join([*conditions, condition])}"
            f" ORDER BY t.id LIMIT {limit + 1}",
            *values,
        )
        return [row["id"] for row in rows[:limit]], len(rows) > limit

    async def _sorted(self, selection: Selection, condition: str, other: str) -> tuple[list[int], Counter[str]]:
        """Those of the ids that are as they must be; how many are otherwise, or not there."""
        ids = sorted(set(selection.ids))
        rows = await self._pool.fetch(
            f"SELECT id, {condition} AS good FROM callboard_tasks WHERE id = ANY ($1::bigint[]) ORDER BY id", ids
        )
        good = [row["id"] for row in rows if row["good"]]
        return good, +Counter({"missing": len(ids) - len(rows), other: len(rows) - len(good)})

    async def _tell(self, topic: str) -> None:
        self._notifier.notify(topic)
        await self._pool.execute("SELECT pg_notify($1, '')", self._notifier.channel(topic))


async def _cancel(ids: Sequence[int], connection: Connection) -> asyncpg.Record:
    async with connection.transaction():
        await connection.execute(
            "SELECT FROM callboard_tasks WHERE id = ANY ($1::bigint[]) AND finished_at IS NULL ORDER BY id FOR UPDATE",
            ids,
        )
        row = await connection.fetchrow(sql("cancel_many"), ids)
        assert row is not None
        return row


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _counts(done: Counter[str], *names: str) -> dict[str, int]:
    return {name: done[name] for name in names}
