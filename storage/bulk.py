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
        ids, skipped, more = await self._select(selection, selection.where, "t.finished_at IS NULL", "final")
        done = Counter[str]()
        for part in _parts(() if selection.dry_run else ids):
            done.update(dict(await self._pool.run(partial(_cancel, part))))
            await self._notifier.announce("wishes")
            self._notifier.final()
            self._notifier.parents()
        return BulkDone(matched=len(ids), done=_counts(done, "cancelled", "cancelling"), skipped=skipped, more=more)

    async def retry_many(self, selection: Selection, *, submitted_by: str | None) -> BulkDone:
        where, ended = selection.where, "t.finished_at IS NOT NULL"
        if where is not None:
            ended += f" AND {_NOT_RETRIED}"
            where = where if where.states else replace(where, states=UNSUCCESSFUL)
        ids, skipped, more = await self._select(selection, where, ended, "unfinished")
        done = Counter[str]()
        for part in _parts(() if selection.dry_run else ids):
            posted = await self._retry(part, submitted_by)
            done["retried"] += posted
            skipped["retried"] += len(part) - posted
            self._notifier.parents()
            await self._notifier.announce("due")
        return BulkDone(matched=len(ids), done=_counts(done, "retried"), skipped=+skipped, more=more)

    async def _select(
        self, selection: Selection, where: TaskFilter | None, condition: str, other: str
    ) -> tuple[list[int], Counter[str], bool]:
        """The oldest tasks that are selected and fulfil the condition; how many of the ids do not; whether there are
        more than one call takes."""
        if where is None:
            ids, skipped = await self._sorted(selection.ids, condition, other)
        else:
            ids, skipped = await self._matching(where, selection.limit, condition), Counter()
        return ids[: selection.limit], skipped, len(ids) > selection.limit

    async def _retry(self, ids: Sequence[int], submitted_by: str | None) -> int:
        async def work(connection: Connection) -> int:
            async with connection.transaction():
                return await post_all_again(connection, ids, submitted_by)

        return await self._pool.run(work, repeatable=never)

    async def _matching(self, where: TaskFilter, limit: int, condition: str) -> list[int]:
        """The oldest that match, one more than the limit."""
        conditions, values = conditions_of(where)
        rows = await self._pool.fetch_fitted(
            f"SELECT t.id FROM callboard_tasks t WHERE {' AND '.join([*conditions, condition])}"
            f" ORDER BY t.id LIMIT {limit + 1}",
            *values,
        )
        return [row["id"] for row in rows]

    async def _sorted(self, given: Sequence[int], condition: str, other: str) -> tuple[list[int], Counter[str]]:
        """Those of the ids that are as they must be; how many are otherwise, or not there."""
        ids = sorted(set(given))
        rows = await self._pool.fetch(
            f"SELECT t.id, {condition} AS good FROM callboard_tasks t WHERE t.id = ANY ($1::bigint[]) ORDER BY t.id",
            ids,
        )
        good = [row["id"] for row in rows if row["good"]]
        return good, +Counter({"missing": len(ids) - len(rows), other: len(rows) - len(good)})


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
