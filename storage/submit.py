"""Stores submissions: one statement for a whole group, one commit, at most one notification."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from actors.model.errors import BadValue, IdempotencyConflict, StorageUnavailable
from actors.model.ports import Submitted
from actors.model.task import NewTask
from storage.connect import Connection
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql


class Submission:
    """Stores a group; a value that the database can't hold is answered alone and stops nobody else."""

    def __init__(self, pool: Pool, lanes: Lanes, notifier: Notifier) -> None:
        self._pool, self._lanes, self._notifier = pool, lanes, notifier

    async def store(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        if not tasks:
            return []
        try:
            return await self._store(tasks)
        except BadValue as error:
            if len(tasks) == 1:
                return [error]
            half = len(tasks) // 2
            return [*await self.store(tasks[:half]), *await self.store(tasks[half:])]

    async def _store(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        lanes = await self._lanes.intern({(task.name, task.queue) for task in tasks})
        columns = columns_of(tasks, lanes)
        channel = self._notifier.channel("due")

        keyed = all(task.idempotency_key is not None for task in tasks)
        committing = False

        async def work(connection: Connection) -> tuple[list[int | None], bool]:
            nonlocal committing
            committing = False
            async with connection.transaction():
                row = await connection.fetchrow(sql("submit"), *columns)
                assert row is not None
                if row["due"]:
                    await connection.execute("SELECT pg_notify($1, '')", channel)
                committing = True
            return row["ids"], row["due"]

        # Lost before its COMMIT was sent, nothing happened. Lost after it, only a key tells a repeat from a new task:
        # without one the outcome is unknown, and is said to be.
        ids, due = await self._pool.run(work, repeatable=lambda: keyed or not committing)
        if due:
            self._notifier.notify("due")
        answers: list[Submitted | Exception] = [Submitted(number, True) if number else KeyError() for number in ids]
        if None in ids:
            await self._answer_repeats(tasks, ids, answers)
        if any(isinstance(answer, KeyError) for answer in answers):
            raise StorageUnavailable("an idempotency key was pruned at this very moment; repeat the submission")
        return answers

    async def _answer_repeats(
        self, tasks: Sequence[NewTask], ids: Sequence[int | None], answers: list[Submitted | Exception]
    ) -> None:
        places = [place for place, number in enumerate(ids) if number is None]
        rows = await self._pool.fetch(
            sql("known_keys"),
            [tasks[place].idempotency_key for place in places],
            [tasks[place].request_hash for place in places],
        )
        for row in rows:
            place = places[row["n"] - 1]
            answers[place] = (
                Submitted(row["task_id"], False)
                if row["same"]
                else IdempotencyConflict(
                    f"Idempotency-Key {str(tasks[place].idempotency_key)[:64]!r} was used with another body,"
                    f" for task {row['task_id']}: use a new key for a new task"
                )
            )


def columns_of(tasks: Sequence[NewTask], lanes: Any) -> list[list[Any]]:
    """The parameters of submit.sql."""
    return [
        [lanes[(task.name, task.queue)] for task in tasks],
        [task.args for task in tasks],
        [task.priority for task in tasks],
        [task.run_at for task in tasks],
        [task.delay for task in tasks],
        [task.timeout for task in tasks],
        [task.max_tries for task in tasks],
        [json.dumps(dict(task.backoff)) if task.backoff else None for task in tasks],
        [task.expires_at for task in tasks],
        [task.exclusive for task in tasks],
        [task.retry_on_crash for task in tasks],
        [json.dumps(list(task.tags)) if task.tags else "[]" for task in tasks],
        [json.dumps(dict(task.metadata)) if task.metadata else "{}" for task in tasks],
        [task.retry_of for task in tasks],
        [task.submitted_by for task in tasks],
        [task.idempotency_key for task in tasks],
        [task.request_hash for task in tasks],
    ]
