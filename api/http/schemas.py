"""Bodies that clients send: checked by the rules that hold for every door, described for /openapi.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from actors.model.bulk import BULK
from actors.model.fields import object_schema
from actors.model.ports import TaskPatch
from actors.model.queue import QueuePatch
from actors.model.queue_fields import QUEUE, read_queue
from actors.model.schedule_fields import CHANGE, NAMED, PAUSE, SCHEDULE, SPAN
from actors.model.submission import PATCH, RETRY, TASK, read_fields, read_patch, read_task
from actors.model.task import NewTask
from actors.model.workflow import NewWorkflow, read_workflow, workflow_schema
from actors.model.wrong import Wrong
from api.http.problems import field_problems, invalid

SENT: Mapping[str, Mapping[str, Any]] = {
    "Task": object_schema(TASK, "A task to post. null means: as the handler declares, else the default."),
    "Patch": {**object_schema(PATCH, "What to change of a waiting task; at least one field."), "minProperties": 1},
    "Schedule": object_schema(SCHEDULE, "A schedule: one of cron, every and at says when, task says what."),
    "ScheduleNamed": object_schema(NAMED, "The same; the name is that of the address."),
    "ScheduleChange": {
        **object_schema(CHANGE, "What to change; a new rule replaces the one before."),
        "minProperties": 1,
    },
    "Workflow": workflow_schema(),
    "QueueChange": {
        **object_schema(QUEUE, "What to change; null takes a limit away."),
        "minProperties": 1,
    },
    "Selection": object_schema(BULK, "Tasks by ids or by a filter."),
    "Pause": object_schema(PAUSE, "Why, for whoever asks later."),
    "Backfill": object_schema(SPAN, "An interval of the past, both ends within it."),
    "Retry": object_schema(RETRY, "Nothing, or with what was cancelled because the task did not succeed."),
    "Empty": object_schema({}, "Nothing, or an empty object."),
}


def new_workflow(value: object) -> NewWorkflow:
    """Raises Problem 413, or 422 with every error."""
    workflow, found = read_workflow(value, now_utc(), _encode)
    if workflow is None:
        raise invalid(field_problems(found))
    return workflow


def new_task(value: object, *, key: str | None = None, request_hash: bytes | None = None) -> NewTask:
    """Raises Problem 413, or 422 with every error."""
    task, found = read_task(value, now_utc(), _encode, key=key, request_hash=request_hash)
    if task is None:
        raise invalid(field_problems(found))
    return task


def new_tasks(values: Sequence[object], keys: Sequence[str | None], request_hash: bytes | None) -> list[NewTask]:
    """Raises Problem 413, or 422 with every error; fields are like ``[3].name``."""
    now = now_utc()
    tasks: list[NewTask] = []
    found: list[Wrong] = []
    for index, (value, key) in enumerate(zip(values, keys, strict=True)):
        task, wrong = read_task(value, now, _encode, where=f"[{index}]", key=key, request_hash=request_hash)
        if task is None:
            found += wrong
        else:
            tasks.append(task)
    if found:
        raise invalid(field_problems(found))
    return tasks


def task_patch(value: object) -> TaskPatch:
    """Raises Problem 422 with every error."""
    patch, found = read_patch(value, now_utc())
    if patch is None:
        raise invalid(field_problems(found))
    return patch


def queue_patch(value: object) -> QueuePatch:
    """Raises Problem 422 with every error."""
    patch, found = read_queue(value)
    if patch is None:
        raise invalid(field_problems(found))
    return patch


def pause_reason(value: object) -> str | None:
    """Raises Problem 422 with every error."""
    found: list[Wrong] = []
    reason: str | None = read_fields(value, PAUSE, "", found).get("reason")
    if found:
        raise invalid(field_problems(found))
    return reason


def wants_children(value: object) -> bool:
    """Of a retry. Raises Problem 422 with every error."""
    found: list[Wrong] = []
    made = read_fields(value, RETRY, "", found)
    if found:
        raise invalid(field_problems(found))
    return bool(made.get("with_children"))


def must_be_empty(value: object) -> None:
    """Raises Problem 422 for anything but an empty object."""
    found: list[Wrong] = []
    read_fields(value, {}, "", found)
    if found:
        raise invalid(field_problems(found))


def now_utc() -> datetime:
    return datetime.now(UTC)


def _encode(args: Any) -> str:
    return msgspec.json.encode(args).decode()
