"""From checked bodies to stored tasks: all of a batch, or nothing of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from actors.model.errors import BadValue, IdempotencyConflict
from actors.model.ports import FirstLook, Submitted
from actors.model.task import DEFAULT_MAX_TRIES, DEFAULT_QUEUE, Task, TaskState
from api.http.problems import FieldProblem, Problem, invalid, problem_of
from api.http.schemas import TaskBody, new_task, now_utc, validated, validated_batch
from api.http.services import Services
from api.http.shapes import TaskJson, task_json

BATCH = 10_000  # tasks


async def submit_one(services: Services, value: Any, key: str | None) -> tuple[TaskBody, Submitted]:
    """Raises Problem 413, 422, and the StorageError family."""
    body: TaskBody = validated(TaskBody, value)
    task, found = new_task(body, now_utc(), key=key, request_hash=_hash(value) if key else None)
    if found:
        raise invalid(found)
    [given] = await services.submit([task])
    if isinstance(given, Exception):
        raise given
    return body, given


async def submit_batch(services: Services, values: Sequence[Any], key: str | None) -> tuple[set[str], list[Submitted]]:
    """The names and the answers. Raises Problem 413, 422 with fields like ``[3].name``, StorageError.

    With an idempotency key each item is stored under a key of its own, with the hash of the whole batch.
    """
    bodies = validated_batch(values)
    keys: Sequence[str | None] = [None] * len(bodies)
    request_hash = None
    if key is not None:
        keys, request_hash = [f"batch {key} {index}" for index in range(len(bodies))], _hash(values)
        known = await services.store.key_hash(str(keys[0]))
        if known is not None and known != request_hash:
            raise IdempotencyConflict("this Idempotency-Key was used with another batch: use a new one for a new batch")
    now = now_utc()
    tasks, found = [], list[FieldProblem]()
    for index, (body, own_key) in enumerate(zip(bodies, keys, strict=True)):
        task, wrong = new_task(body, now, path=f"[{index}]", key=own_key, request_hash=request_hash)
        tasks.append(task)
        found += wrong
    if found:
        raise invalid(found)
    answers = await services.submit(tasks)
    stored = [one for one in answers if not isinstance(one, Exception)]
    if len(stored) < len(answers):
        raise _refused(answers)
    return {body.name for body in bodies}, stored


def _refused(answers: Sequence[Submitted | Exception]) -> Problem:
    found = [
        FieldProblem(field=f"[{index}].{error.field}", code="invalid", detail=error.detail)
        for index, error in enumerate(answers)
        if isinstance(error, BadValue)
    ]
    return invalid(found) if found else problem_of(next(one for one in answers if isinstance(one, Exception)))


def first_json(task_id: int, body: TaskBody, first: FirstLook) -> TaskJson:
    """What a task looks like right after it was stored."""
    return task_json(
        Task(
            id=task_id, name=body.name, queue=first.queue, state=TaskState.QUEUED, args=body.args,
            priority=body.priority, attempt=0, tries=0, max_tries=first.max_tries, crashes=0, snoozes=0, undelivered=0,
            run_at=first.run_at, created_at=first.created_at, assigned_at=None, started_at=None, finished_at=None,
            timeout=body.timeout, expires_at=body.expires_at, exclusive=body.exclusive,
            retry_on_crash=body.retry_on_crash, worker=None, worker_http=None, result=None, error=None, progress=None,
            tags=body.tags, metadata=body.metadata, retry_of=None, submitted_by=None, cancel_requested_at=None,
            now=first.created_at,
        )
    )  # fmt: skip


def assumed_look(body: TaskBody) -> FirstLook:
    """For a stored task that can't be read at the moment; times by this node's clock."""
    now = now_utc()
    return FirstLook(
        run_at=body.run_at or now + timedelta(seconds=body.delay or 0),
        created_at=now,
        queue=body.queue or DEFAULT_QUEUE,
        max_tries=body.max_tries or DEFAULT_MAX_TRIES,
    )


def _hash(value: Any) -> bytes:
    """Of what was meant, whatever the order of keys and the spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).digest()
