"""What handlers raise on purpose, and what the clients raise.

::

    Exception
    ├── Retry                     try again, after a time of the handler's choice
    ├── Fail                      failed for good: no retry
    ├── Snooze                    run again later; costs no try
    └── CallboardError
        ├── CallboardUnavailable  nobody answered
        └── CallboardApiError     the API said no; carries its problem document
    BaseException
    └── Cancelled                 raised by ctx.check_cancelled(); passes `except Exception`, as trio.Cancelled does
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

MAX_AFTER = 10 * 365 * 86_400.0  # seconds


def seconds(value: float | timedelta, name: str, *, least: float = 0.0, most: float = MAX_AFTER) -> float:
    """A duration as seconds. Raises TypeError or ValueError that names the option and what would be right."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or a timedelta, got {value!r}")
    if not math.isfinite(value) or not least <= value <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g} seconds, got {value!r}")
    return float(value)


class Retry(Exception):
    """Ends this try as failed and asks for another one, as long as `max_tries` allows.

    `after`: seconds or a timedelta until the next try; None leaves it to the task's back-off.
    """

    def __init__(
        self, message: str = "the handler asked for another try", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.after = None if after is None else seconds(after, "after")


class Fail(Exception):
    """Fails the task for good, however many tries are left."""

    def __init__(self, message: str = "the handler gave up") -> None:
        super().__init__(message)


class Snooze(Exception):
    """Puts the task back until later; costs no try. Give either `until` (aware datetime) or `after` (seconds)."""

    def __init__(self, *, until: datetime | None = None, after: float | timedelta | None = None) -> None:
        if (until is None) == (after is None):
            raise TypeError("Snooze takes either until=, an aware datetime, or after=, in seconds")
        if until is not None and (not isinstance(until, datetime) or until.tzinfo is None):
            raise ValueError(f"until must be a datetime with a time zone, got {until!r}; for example datetime.now(UTC)")
        self.until = until
        self._after = None if after is None else seconds(after, "after")
        super().__init__(f"until {until.isoformat()}" if until else f"for {self._after:g} s")

    @property
    def after(self) -> float:
        """Seconds from now, at least 0."""
        if self.until is None:
            return self._after or 0.0
        return min(max(0.0, (self.until - datetime.now(UTC)).total_seconds()), MAX_AFTER)


class CancelReason(StrEnum):
    """Why an attempt has to stop."""

    CANCELLED = "cancelled"  # somebody cancelled the task
    TIMEOUT = "timeout"  # its time is over
    DRAIN = "drain"  # the worker is being stopped; the task will run elsewhere
    LEASE = "lease"  # the worker can't renew its lease; the task will run elsewhere
    SESSION = "session"  # the worker lost its session; the task runs elsewhere or soon will


class Cancelled(BaseException):
    """The attempt must stop. Let it pass; catch it only to clean up, and raise it again."""

    def __init__(self, reason: CancelReason) -> None:
        super().__init__(f"stopped: {reason.value}")
        self.reason = reason


class CallboardError(Exception):
    """Base of what the clients raise."""


class CallboardUnavailable(CallboardError):
    """Nobody answered within the time for repeats; a submission can be repeated with the same idempotency key."""


class CallboardApiError(CallboardError):
    """The API refused; fields are those of its problem document (RFC 9457)."""

    def __init__(
        self,
        status: int,
        code: str | None,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
    ) -> None:
        listed = "; ".join(f"{one.get('field')}: {one.get('detail')}" for one in errors)
        super().__init__(f"{detail} (status {status}{f', {code}' if code else ''}){f': {listed}' if listed else ''}")
        self.status, self.code, self.detail, self.errors, self.request_id = status, code, detail, errors, request_id
