"""What the system knows of a worker: what it declares, what a session is, what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerInfo:
    """A handler as its worker declares it; None where the decorator says nothing."""

    name: str
    queue: str | None = None
    max_tries: int | None = None
    timeout: float | None = None  # seconds
    backoff: Mapping[str, Any] | None = None
    args: Mapping[str, Any] = field(default_factory=dict)  # argument name → type, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker's own account of itself, as Hello carries it."""

    id: str  # name + random part; new for every process
    name: str
    slots: int
    queues: Sequence[str] = ()  # empty = every queue
    handlers: Sequence[HandlerInfo] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    http_address: str | None = None  # http://host:port; None = none


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One registration of a worker, as stored."""

    id: int
    epoch: int  # rises each time a coordinator takes the stream over
    worker: str


@dataclass(frozen=True, slots=True)
class Held:
    """Identity of one attempt."""

    task_id: int
    attempt: int
    lease_key: bytes  # 16 bytes; one for each claim
    weight: int = field(default=1, compare=False)  # slots that it takes, where the table was asked


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker as shown to users."""

    id: str
    name: str
    state: str  # live, draining, dead, closed as stored; see `shown_worker_state`
    slots: int
    running: int
    queues: Sequence[str]
    handlers: Sequence[str]
    labels: Mapping[str, str]
    version: str
    address: str | None
    connected_at: datetime
    last_seen: datetime
    health: Mapping[str, Any]
    coordinator: str | None
    paused: bool
    drain_requested: bool
    lease_until: datetime
    now: datetime
    session: int = 0


def shown_worker_state(view: WorkerView, suspect_after: float = 4.0) -> str:
    """alive, suspect, deaf, paused, failing, draining, lost or closed."""
    if view.state in ("dead", "closed"):
        return "lost" if view.state == "dead" else "closed"
    if view.health.get("deaf"):
        return "deaf"
    if view.state == "draining" or view.drain_requested:
        return "draining"
    if (view.now - view.last_seen).total_seconds() > suspect_after:
        return "suspect"
    if view.paused:
        return "paused"
    return "failing" if view.health.get("failing") else "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorView:
    """A coordinator as shown to users and to workers that look for one."""

    id: str
    address: str  # http://host:port of its gRPC server
    version: str
    started_at: datetime
    seen_until: datetime
    alive: bool
    workers: int
