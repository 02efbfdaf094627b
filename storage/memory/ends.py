"""What an end of an attempt does to its task: the same arithmetic for outcomes and for the sweep."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from storage.memory.rows import TaskRow
from storage.memory.values import later

MOST_COUNTED, MOST_WAIT = 30_000, 1e9  # seconds


def next_state(task: TaskRow, *, spent: bool, crashed: bool, crash: int) -> str:
    """`spent`: no try is left. `crash`: how many there were lately, this one included."""
    if spent:
        return "failed"
    if task.cancel_requested_at is not None:
        return "cancelled"
    if crashed and not task.retry_on_crash:
        return "failed"
    return "quarantined" if crash >= 3 else "queued"


def ended(
    task: TaskRow,
    now: datetime,
    *,
    state: str,
    wait: float,
    keeps_place: bool,
    began: bool,
    tried: bool = False,
    crashed: bool = False,
    undelivered: bool = False,
    snoozed: bool = False,
    failed: bool = False,
    error: str | None = None,
    outcome_hash: int | None = None,
) -> TaskRow:
    """The row after it. `keeps_place`: what goes back without a wait keeps its place before all that came later.
    `failed`: another session had better try it next."""
    final = state != "queued"
    wait = MOST_WAIT if wait != wait else min(max(wait, 0.0), MOST_WAIT)
    return replace(
        task,
        state=state,
        tries=task.tries + tried,
        crashes=min(task.crashes + crashed, MOST_COUNTED),
        undelivered=min(task.undelivered + undelivered, MOST_COUNTED),
        snoozes=task.snoozes + snoozed,
        error=task.error if error is None else error,
        run_at=task.run_at if final or (keeps_place and wait <= 0) else later(now, wait),
        finished_at=now if final else None,
        started_at=(task.started_at or task.assigned_at) if final and began else task.started_at,
        lease_key=task.lease_key if final else None,
        session_id=task.session_id if final else None,
        failed_in=task.session_id if failed else task.failed_in,
        result_hash=outcome_hash if final else None,
        ack_by=None,
        exec_until=None,
    )
