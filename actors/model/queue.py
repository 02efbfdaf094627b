"""What operators say about queues, and how a queue is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts within any period of so many seconds."""

    limit: int
    period: float


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds that something is kept after its end, where its queue says nothing."""

    succeeded: float = 7 * 86_400.0
    unsuccessful: float = 30 * 86_400.0
    keys: float = 86_400.0  # idempotency keys, after they were used first


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """One queue as it is shown. None: no limit, or nothing to say."""

    name: str
    concurrency: int | None = None  # weights that may be out at once, on all workers
    concurrency_per_key: int | None = None
    rate: Rate | None = None
    rate_per_key: Rate | None = None
    paused: bool = False
    paused_reason: str | None = None
    paused_at: datetime | None = None
    keep_succeeded: float | None = None  # seconds that succeeded tasks are kept; None: as for all queues
    keep_unsuccessful: float | None = None
    depth: int = 0  # tasks that wait
    due: int = 0  # of these, such as could start now
    running: int = 0  # assigned or running
    oldest: float | None = None  # seconds that the oldest due task has waited


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePatch:
    """What to change; fields not in `fields` stay as they are, None in them takes a limit away."""

    fields: frozenset[str]
    concurrency: int | None = None
    concurrency_per_key: int | None = None
    rate: Rate | None = None
    rate_per_key: Rate | None = None
    paused: bool = False
    paused_reason: str | None = None
    keep_succeeded: float | None = None
    keep_unsuccessful: float | None = None


@dataclass(frozen=True, slots=True)
class PausedName:
    """A handler of which nothing is started."""

    name: str
    reason: str | None
    paused_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerView:
    """One handler as it is shown. None: not declared."""

    name: str
    live: bool = False  # a live worker knows it
    queue: str | None = None
    max_tries: int | None = None
    timeout: float | None = None  # seconds
    paused_at: datetime | None = None
    paused_reason: str | None = None


class QueueStore(Protocol):
    """Queues and paused handlers, as operators see them. Raises the StorageError family."""

    async def queues(self) -> list[QueueView]:
        """Those that have settings or tasks that wait or are out, by name; bounded cost."""
        ...

    async def queue(self, name: str) -> QueueView:
        """Every name is a queue: one that nobody has used has no limits and nothing in it."""
        ...

    async def set_queue(self, name: str, patch: QueuePatch) -> QueueView:
        """Holds from the next claim on. What is out goes on, and counts."""
        ...

    async def paused_names(self) -> list[PausedName]: ...
    async def pause_name(self, name: str, reason: str | None) -> None: ...
    async def resume_name(self, name: str) -> None: ...
    async def handlers(self) -> list[HandlerView]:
        """Those that were declared, and those that are paused, by name."""
        ...
