"""Stores submissions: one statement for a whole group, one commit, at most one notification."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import asyncpg

from actors.model.errors import BadValue, IdempotencyConflict, StorageUnavailable
from actors.model.lane import LaneKey, lane_key
from actors.model.ports import FirstLook, Submitted
from actors.model.task import DEFAULT_MAX_TRIES, NewTask
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.pool import Pool, always, never
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
        # Whoever repeats a submission that may have been stored already stores it twice, unless it has a key:
        # without one the outcome is unknown, and is said to be.
        keyed = all(task.idempotency_key is not None for task in tasks)
        row = await self._pool.fetchrow(
            sql("submit"), *await self.parameters(tasks), repeatable=always if keyed else never
        )
        assert row is not None
        if row["due"]:
            self._notifier.notify("due")
        return await self.answers(tasks, row)

    async def parameters(self, tasks: Sequence[NewTask]) -> list[Any]:
        """Those of submit.sql."""
        lanes = await self._lanes.intern(set(map(lane_key, tasks)))
        return parameters_of(tasks, lanes, self._notifier.channel("due"))

    async def answers(self, tasks: Sequence[NewTask], row: asyncpg.Record) -> list[Submitted | Exception]:
        """From what submit.sql returned."""
        stored = set(row["stored"] or ())
        ids = [number if number in stored else None for number in row["ids"]]
        looks = first_looks(row)
        answers: list[Submitted | Exception] = [
            Submitted(number, True, next(looks, None)) if number else KeyError() for number in ids
        ]
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
            answers[place] = Submitted(row["task_id"], False) if row["same"] else conflict(tasks[place], row["task_id"])


def conflict(task: NewTask, other: int) -> IdempotencyConflict:
    """`other` has the idempotency key of this one."""
    return IdempotencyConflict(
        f"Idempotency-Key {str(task.idempotency_key)[:64]!r} was used with another body,"
        f" for task {other}: use a new key for a new task"
    )


def first_looks(row: asyncpg.Record) -> Iterator[FirstLook]:
    """One for each task that was stored, in order; none where many were posted."""
    columns = (row["run_at"], row["created_at"], row["queues"], row["max_tries"])
    return map(FirstLook, *columns) if row["run_at"] else iter(())


def parameters_of(
    tasks: Sequence[NewTask], lanes: Mapping[LaneKey, int], channel: str, bonds: Sequence[Bonds] = ()
) -> list[Any]:
    """Those of submit.sql."""
    return [
        [lanes[lane_key(task)] for task in tasks],
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
        channel,
        DEFAULT_MAX_TRIES,
        [task.schedule_id for task in tasks],
        list(map(more_of, tasks, bonds or repeat(UNBOUND))),
    ]


@dataclass(frozen=True, slots=True)
class Bonds:
    """How a new task hangs together with others."""

    parents: int = 0
    parents_left: int = 0  # of these, such as it waits for
    has_children: bool = False


UNBOUND = Bonds()


def more_of(task: NewTask, bonds: Bonds) -> str | None:
    """What few tasks have, as JSON: a column each would cost all the others too."""
    more = {
        "concurrency_key": task.concurrency_key,
        "affinity_key": task.affinity_key,
        "unique_key": task.unique_key,
        "weight": None if task.weight == 1 else task.weight,
        "parents": bonds.parents or None,
        "parents_left": bonds.parents_left or None,
        "has_children": bonds.has_children or None,
        "workflow_id": task.workflow_id,
        "inputs": task.inputs,
    }
    return json.dumps(more) if any(map(_is_given, more.values())) else None


def _is_given(value: object) -> bool:
    return value is not None
