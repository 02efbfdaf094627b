"""What clients are shown: one typed shape a resource, and the way to it from the rooms' own values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from actors.model.task import SHOWN_STATES, Attempt, Task, shown_state
from actors.model.worker import CoordinatorView, WorkerView, shown_worker_state

State = Literal[
    "blocked", "scheduled", "queued", "retrying", "assigned", "running", "cancelling",
    "succeeded", "failed", "cancelled", "expired", "quarantined",
]  # fmt: skip
assert State.__args__ == SHOWN_STATES  # type: ignore[attr-defined]


class ErrorJson(TypedDict):
    type: str | None
    message: str | None
    traceback: str | None


class TaskJson(TypedDict):
    id: str
    name: str
    queue: str
    state: State
    args: Any
    priority: int
    attempt: int
    tries: int
    max_tries: int
    crashes: int
    run_at: datetime
    created_at: datetime
    assigned_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    result: Any
    error: ErrorJson | None
    progress: dict[str, Any] | None
    tags: list[str]
    metadata: dict[str, Any]
    unique_key: str | None
    schedule: str | None
    retry_of: str | None
    submitted_by: str | None
    requirements: dict[str, str]
    concurrency_key: str | None
    weight: int
    affinity_key: str | None
    depends_on: list[str]
    workflow: str | None
    notice: NotRequired[str]  # in the answer to a submission: why it may wait


class AttemptJson(TypedDict):
    attempt: int
    outcome: str
    accepted: bool
    worker: str | None
    assigned_at: datetime | None
    started_at: datetime | None
    ended_at: datetime
    error: dict[str, Any] | None
    evidence: dict[str, Any] | None


class WorkerJson(TypedDict):
    id: str
    name: str
    state: Literal["alive", "suspect", "deaf", "paused", "failing", "draining", "lost", "closed"]
    slots: int
    running: int
    queues: list[str]
    handlers: list[str]
    labels: dict[str, str]
    version: str
    address: str | None
    connected_at: datetime
    last_seen: datetime
    health: dict[str, Any]


class CoordinatorJson(TypedDict):
    id: str
    address: str
    version: str
    started_at: datetime
    seen_until: datetime
    alive: bool
    workers: int


class TaskPage(TypedDict):
    items: list[TaskJson]
    next_cursor: str | None


class AttemptPage(TypedDict):
    items: list[AttemptJson]
    next_cursor: None


class WorkerPage(TypedDict):
    items: list[WorkerJson]
    next_cursor: None


class CoordinatorPage(TypedDict):
    items: list[CoordinatorJson]
    next_cursor: None


class TreePage(TypedDict):
    items: list[dict[str, Any]]
    next_cursor: None


class BatchJson(TypedDict):
    ids: list[str]
    notice: NotRequired[str]


class CancelJson(TypedDict):
    id: str
    state: Literal["cancelled", "cancelling"]


class StatsJson(TypedDict):
    tasks: dict[str, int]
    queues: list[dict[str, Any]]
    workers: dict[str, int]


class CheckJson(TypedDict):
    status: str
    detail: str
    age: float | None


class HealthJson(TypedDict):
    status: Literal["ok", "failed"]
    checks: dict[str, CheckJson]


class StatusJson(TypedDict):
    status: str
    detail: str


class VersionJson(TypedDict):
    version: str
    python: str


def task_json(task: Task) -> TaskJson:
    error = task.error
    return {
        "id": str(task.id),
        "name": task.name,
        "queue": task.queue,
        "state": shown_state(task),  # type: ignore[typeddict-item]  # one of State, by the assertion above
        "args": task.args,
        "priority": task.priority,
        "attempt": task.attempt,
        "tries": task.tries,
        "max_tries": task.max_tries,
        "crashes": task.crashes,
        "run_at": task.run_at,
        "created_at": task.created_at,
        "assigned_at": task.assigned_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "worker": task.worker,
        "result": task.result,
        "error": None if error is None else _error_json(error),
        "progress": None if task.progress is None else dict(task.progress),
        "tags": list(task.tags),
        "metadata": dict(task.metadata or {}),
        "unique_key": task.unique_key,
        "schedule": task.schedule,
        "retry_of": None if task.retry_of is None else str(task.retry_of),
        "submitted_by": task.submitted_by,
        "requirements": dict(task.requirements),
        "concurrency_key": task.concurrency_key,
        "weight": task.weight,
        "affinity_key": task.affinity_key,
        "depends_on": [str(one) for one in task.depends_on],
        "workflow": None if task.workflow is None else str(task.workflow),
    }


def _error_json(error: Mapping[str, Any]) -> ErrorJson:
    return {"type": error.get("type"), "message": error.get("message"), "traceback": error.get("traceback")}


def attempt_json(attempt: Attempt) -> AttemptJson:
    return {
        "attempt": attempt.attempt,
        "outcome": attempt.outcome,
        "accepted": attempt.accepted,
        "worker": attempt.worker,
        "assigned_at": attempt.assigned_at,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "error": None if attempt.error is None else dict(attempt.error),
        "evidence": None if attempt.evidence is None else dict(attempt.evidence),
    }


def worker_json(view: WorkerView, suspect_after: float) -> WorkerJson:
    return {
        "id": view.id,
        "name": view.name,
        "state": shown_worker_state(view, suspect_after),  # type: ignore[typeddict-item]
        "slots": view.slots,
        "running": view.running,
        "queues": list(view.queues),
        "handlers": list(view.handlers),
        "labels": dict(view.labels),
        "version": view.version,
        "address": view.address,
        "connected_at": view.connected_at,
        "last_seen": view.last_seen,
        "health": dict(view.health),
    }


def coordinator_json(view: CoordinatorView) -> CoordinatorJson:
    return {
        "id": view.id,
        "address": view.address,
        "version": view.version,
        "started_at": view.started_at,
        "seen_until": view.seen_until,
        "alive": view.alive,
        "workers": view.workers,
    }


def page(items: Sequence[Any]) -> dict[str, Any]:
    """A listing that has one page only."""
    return {"items": list(items), "next_cursor": None}
