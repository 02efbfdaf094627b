"""One attempt in this executor, and what its Context is connected to."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import trio

from callboard.context import Done
from callboard.errors import CancelReason
from callboard.executor.handler import Handler


class Office(Protocol):
    """What an attempt needs of its executor."""

    def note_progress(self, attempt: Attempt) -> None: ...

    async def serve(self, attempt: Attempt, app: Callable[..., Any]) -> None: ...


class Attempt:
    """Read and written on Trio's thread, but for `deadline`, `stopped` and `report`, which any thread may use."""

    __slots__ = (
        "announced",  # its start was reported, or needs no report
        "ended",  # its outcome was reported
        "handler",
        "id",
        "key",
        "number",
        "office",
        "payload",
        "progress",  # the newest value that was not sent yet
        "progress_sent_at",
        "queued_at",
        "reason",
        "scope",
        "sequence",  # its place among all that this process was given
        "serving",
        "timeout",
        "until",  # time.monotonic() at which the timeout ends it
    )

    def __init__(
        self,
        office: Office,
        handler: Handler | None,
        key: bytes,
        id: int,
        number: int,
        timeout: float,
        payload: bytes,
        now: float,
        sequence: int,
    ) -> None:
        self.office = office
        self.handler = handler  # None: unknown here
        self.key = key
        self.id = id
        self.number = number
        self.timeout = timeout  # seconds; 0 = none
        self.payload = payload
        self.queued_at = now
        self.sequence = sequence
        self.scope: trio.CancelScope | None = None  # while it runs
        self.reason: CancelReason | None = None
        self.until: float | None = None
        self.progress: Done | None = None
        self.progress_sent_at = 0.0
        self.announced = self.ended = self.serving = False

    @property
    def deadline(self) -> datetime | None:
        if self.until is None:
            return None
        return datetime.now(UTC) + timedelta(seconds=self.until - time.monotonic())

    @property
    def stopped(self) -> CancelReason | None:
        if self.reason is None and self.until is not None and time.monotonic() >= self.until:
            return CancelReason.TIMEOUT
        return self.reason

    def report(self, progress: Done) -> None:
        news = self.progress is None
        self.progress = progress
        if news:
            self.office.note_progress(self)

    async def serve(self, app: Callable[..., Any]) -> None:
        await self.office.serve(self, app)

    def stop(self, reason: CancelReason) -> None:
        """The first reason counts."""
        if self.reason is None:
            self.reason = reason
        if self.scope is not None:
            self.scope.cancel(reason.value)
