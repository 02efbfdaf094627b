"""Rows as the tables of the migrations have them. A row never changes: a change is another row in its place.

JSON is kept as PostgreSQL would show it (see values.py), times are aware and in UTC, lease keys are 16 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})
HELD = frozenset({"assigned", "running"})
WAITING = frozenset({"blocked", "queued"})
OPEN = frozenset({"live", "draining"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """callboard_tasks."""

    id: int
    lane_id: int
    run_at: datetime
    created_at: datetime
    state: str = "queued"
    priority: int = 2
    attempt: int = 0
    tries: int = 0
    crashes: int = 0
    undelivered: int = 0
    snoozes: int = 0
    max_tries: int | None = None
    exclusive: bool = False
    retry_on_crash: bool = True
    timeout: float | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    ack_by: datetime | None = None
    exec_until: datetime | None = None
    lease_key: bytes | None = None
    session_id: int | None = None
    failed_in: int | None = None  # the session that failed it last
    result_hash: int | None = None
    retry_of: int | None = None
    args: str = "{}"
    result: str | None = None
    error: str | None = None
    progress: str | None = None
    backoff: str | None = None
    tags: tuple[str, ...] = ()
    metadata: str = "{}"
    submitted_by: str | None = None
    schedule_id: int | None = None  # kept; there are no schedules here
    concurrency_key: str | None = None
    affinity_key: str | None = None
    unique_key: str | None = None
    weight: int = 1
    inputs: str | None = None
    parents: int = 0  # nothing depends on anything here
    parents_left: int = 0
    has_children: bool = False
    workflow_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """callboard_attempts."""

    id: int
    task_id: int
    attempt: int
    outcome: str
    ended_at: datetime
    lease_key: bytes | None = None
    accepted: bool = True
    outcome_hash: int | None = None
    session_id: int | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    error: str | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """callboard_workers."""

    session_id: int
    worker: str
    name: str
    secret_hash: bytes
    coordinator_id: str
    lease_until: datetime
    slots: int
    connected_at: datetime
    last_seen: datetime
    epoch: int = 1
    state: str = "live"
    queues: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    labels: str = "{}"
    version: str = ""
    http_address: str | None = None
    paused: bool = False
    drain_requested: bool = False
    health: str = "{}"
    ended_at: datetime | None = None
    swept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorRow:
    """callboard_coordinators."""

    id: str
    address: str
    version: str
    started_at: datetime
    seen_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRow:
    """callboard_handlers."""

    name: str
    declared_at: datetime
    queue: str | None = None
    max_tries: int | None = None
    timeout: float | None = None
    backoff: str | None = None
    args: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRow:
    """callboard_lanes."""

    id: int
    name: str
    queue: str | None = None
    requirements: str = "{}"
    keyed: bool = False
    placed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """callboard_idempotency_keys."""

    key: str
    request_hash: bytes
    task_id: int
    created_at: datetime
