"""From checked bodies to stored tasks: all of a batch, or nothing of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from actors.model.errors import BadValue, IdempotencyConflict
from actors.model.ports import FirstLook, Submitted
from actors.model.submission import fingerprint
from actors.model.task import DEFAULT_MAX_TRIES, DEFAULT_QUEUE, NewTask, Task, TaskState
from api.http.problems import FieldProblem, Problem, invalid, problem_of
from api.http.schemas import new_task, new_tasks, now_utc
from api.http.services import Services
from api.http.shapes import TaskJson, task_json


async def submit_one(services: Services, value: Any, key: str | None) -> tuple[NewTask, Submitted]:
    """Raises Problem 413, 422, and the StorageError family."""
    task = new_task(value, key=key, request_hash=fingerprint(value) if key else None)
    [given] = await services.submit([task])
    if isinstance(given, Exception):
        raise given
    return task, given


async def submit_batch(services: Services, values: Sequence[Any], key: str | None) -> tuple[set[str], list[Submitted]]:
    """The names and the answers. Raises Problem 413, 422 with fields like ``[3].name``, StorageError.

    With an idempotency key each item is stored under a key of its own, with the hash of the whole batch.
    """
    keys: Sequence[str | None] = [None] * len(values)
    request_hash = None
    if key is not None:
        keys, request_hash = [f"batch {key} {index}" for index in range(len(values))], fingerprint(values)
    tasks = new_tasks(values, keys, request_hash)
    if key is not None:
        known = await services.store.key_hash(str(keys[0]))
        if known is not None and known != request_hash:
            raise IdempotencyConflict("this Idempotency-Key was used with another batch: use a new one for a new batch")
    answers = await services.submit(tasks)
    stored = [one for one in answers if not isinstance(one, Exception)]
    if len(stored) < len(answers):
        raise _refused(answers)
    return {task.name for task in tasks}, stored


def _refused(answers: Sequence[Submitted | Exception]) -> Problem:
    found = [
        FieldProblem(field=f"[{index}].{error.field}", code="invalid", detail=error.detail)
        for index, error in enumerate(answers)
        if isinstance(error, BadValue)
    ]
    return invalid(found) if found else problem_of(next(one for one in answers if isinstance(one, Exception)))


def first_json(task_id: int, task: NewTask, first: FirstLook) -> TaskJson:
    """What a task looks like right after it was stored."""
    return task_json(
        Task(
            id=task_id, name=task.name, queue=first.queue, state=TaskState.QUEUED, args=json.loads(task.args),
            priority=task.priority, attempt=0, tries=0, max_tries=first.max_tries, crashes=0, snoozes=0, undelivered=0,
            run_at=first.run_at, created_at=first.created_at, assigned_at=None, started_at=None, finished_at=None,
            timeout=task.timeout, expires_at=task.expires_at, exclusive=task.exclusive,
            retry_on_crash=task.retry_on_crash, worker=None, worker_http=None, result=None, error=None, progress=None,
            tags=task.tags, metadata=task.metadata, retry_of=None, submitted_by=None, cancel_requested_at=None,
            requirements=task.requirements, concurrency_key=task.concurrency_key, weight=task.weight,
            affinity_key=task.affinity_key, now=first.created_at,
        )
    )  # fmt: skip


def assumed_look(task: NewTask) -> FirstLook:
    """For a stored task that can't be read at the moment; times by this node's clock."""
    now = now_utc()
    return FirstLook(
        run_at=task.run_at or now + timedelta(seconds=task.delay or 0),
        created_at=now,
        queue=task.queue or DEFAULT_QUEUE,
        max_tries=task.max_tries or DEFAULT_MAX_TRIES,
    )
