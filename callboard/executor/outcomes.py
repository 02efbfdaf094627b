"""How an attempt ended, in the numbers of the wire (actors.model.columns.Outcome has the same ones)."""

from __future__ import annotations

from enum import IntEnum

from callboard.errors import CancelReason


class Outcome(IntEnum):
    SUCCEEDED = 0
    FAILED = 1  # the handler raised; may be retried
    FAILED_FINAL = 2  # Fail, bad arguments, bad result: no retry
    TIMED_OUT = 3
    CANCELLED = 4
    CRASHED = 5  # the executor died under it; only its node can say so
    RELEASED = 6  # handed back unharmed
    SNOOZED = 7
    REFUSED = 8  # never started: unknown handler


STOPPED = {
    CancelReason.CANCELLED: (Outcome.CANCELLED, "Cancelled", "the task was cancelled"),
    CancelReason.TIMEOUT: (Outcome.TIMED_OUT, "TimedOut", "the handler took longer than its timeout"),
    CancelReason.DRAIN: (Outcome.RELEASED, "Drain", "the worker is being stopped"),
    CancelReason.LEASE: (Outcome.RELEASED, "Lease", "the worker could not renew its lease"),
    CancelReason.SESSION: (Outcome.RELEASED, "Session", "the worker lost its session"),
}
