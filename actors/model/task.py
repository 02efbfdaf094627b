"""What a task is: its states, its counters, and how it is shown.

Stored states and their moves::

      submit            T1 claim            T2 start
    ──────────▶ queued ─────────▶ assigned ─────────▶ running
                  ▲  │               │                   │
                  │  │cancel, expiry ├───────────────────┤ outcome
                  │  ▼               ▼                   ▼
                  │ cancelled     retry, release,   succeeded · failed · cancelled
                  │ expired       loss, snooze      quarantined
                  └──────────────────┘

Final rows never change again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class TaskState(StrEnum):
    """States as stored. ``scheduled``, ``retrying`` and ``cancelling`` are shown, never stored."""

    BLOCKED = "blocked"
    QUEUED = "queued"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"


FINAL = frozenset(
    {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED, TaskState.QUARANTINED}
)
HELD = frozenset({TaskState.ASSIGNED, TaskState.RUNNING})
SHOWN_STATES = (
    "blocked",
    "scheduled",
    "queued",
    "retrying",
    "assigned",
    "running",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
    "expired",
    "quarantined",
)

DEFAULT_MAX_TRIES = 4
DEFAULT_QUEUE = "default"
AGEING = 300.0  # seconds after which a task stands beside new ones of the next better priority
DEFAULT_PRIORITY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A submission, already validated. None means: as the handler declares, else the default."""

    name: str
    args: str = "{}"  # JSON object, as text; at most 256 KiB encoded
    queue: str | None = None
    priority: int = DEFAULT_PRIORITY  # 1 urgent … 4 background
    run_at: datetime | None = None  # aware; None = now by the database's clock
    delay: float | None = None  # seconds from now by the database's clock; excludes run_at
    timeout: float | None = None  # seconds
    max_tries: int | None = None
    backoff: Mapping[str, Any] | None = None  # see actors.model.retry.Backoff.as_json
    expires_at: datetime | None = None
    exclusive: bool = False
    retry_on_crash: bool = True
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    request_hash: bytes | None = None  # of the body, beside idempotency_key
    retry_of: int | None = None
    submitted_by: str | None = None
    schedule_id: int | None = None  # of the schedule that posts it
    requirements: Mapping[str, str] = field(default_factory=dict)  # labels that a worker must have
    concurrency_key: str | None = None  # whose turn it is, where its queue gives turns
    weight: int = 1  # of the slots and of the queue's concurrency that it takes
    affinity_key: str | None = None  # tasks with the same one go to the same worker where that is possible
    unique_key: str | None = None
    unique_until: str | float = "finished"  # "started", "finished", or seconds since it was posted
    on_duplicate: str = "existing"  # "replace": the latest wins while none has started
    depends_on: Sequence[int] = ()  # ids of tasks that must have ended before
    on_parent_failure: str = "cancel"  # "run": it runs however they ended
    inputs: str | None = None  # the argument that gets the results of `depends_on`
    workflow_id: int | None = None

    @property
    def is_bound(self) -> bool:
        """Whether storing it depends on what is stored already."""
        return bool(self.depends_on) or self.unique_key is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task as read from the store."""

    id: int
    name: str
    queue: str  # effective: given, else declared by the handler, else "default"
    state: TaskState
    args: Any
    priority: int
    attempt: int
    tries: int
    max_tries: int
    crashes: int
    snoozes: int
    undelivered: int
    run_at: datetime
    created_at: datetime
    assigned_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    timeout: float | None
    expires_at: datetime | None
    exclusive: bool
    retry_on_crash: bool
    worker: str | None
    worker_http: str | None  # http://host:port of the worker that holds the attempt, while it is held
    result: Any
    error: Mapping[str, Any] | None  # type, message, traceback
    progress: Mapping[str, Any] | None
    tags: Sequence[str]
    metadata: Mapping[str, str]
    retry_of: int | None
    submitted_by: str | None
    cancel_requested_at: datetime | None
    schedule: str | None = None  # name of the schedule that posted it
    requirements: Mapping[str, str] = field(default_factory=dict)
    concurrency_key: str | None = None
    weight: int = 1
    affinity_key: str | None = None
    unique_key: str | None = None
    depends_on: Sequence[int] = ()
    workflow: int | None = None
    now: datetime  # the database's clock when the row was read


def shown_state(task: Task) -> str:
    """The state a user sees; derived, so that no row has to move from one waiting state to another."""
    if task.state in HELD and task.cancel_requested_at is not None:
        return "cancelling"
    if task.state is TaskState.QUEUED and task.run_at > task.now:
        return "retrying" if task.tries + task.crashes + task.snoozes > 0 else "scheduled"
    return task.state.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that ended otherwise than with success, or a late outcome that was refused."""

    task_id: int
    attempt: int
    outcome: str
    accepted: bool  # False: refused because the attempt was superseded; kept as evidence
    worker: str | None
    assigned_at: datetime | None
    started_at: datetime | None
    ended_at: datetime
    error: Mapping[str, Any] | None
    evidence: Mapping[str, Any] | None  # exit signal, session, what the worker reported
