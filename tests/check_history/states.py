"""V20: every step of a task and of a session is a legal one, by somebody who may make it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.check_history.history import FINAL, SECOND, History, Problem, Row, assigns

_HELD_NEXT: set[str | None] = {"queued", "succeeded", "failed", "cancelled", "quarantined"}
STEPS: dict[str | None, set[str | None]] = {
    None: {"queued", "blocked"},
    "blocked": {"blocked", "queued", "cancelled", "expired"},
    "queued": {"queued", "assigned", "cancelled", "expired"},
    "assigned": {"assigned", "running", *_HELD_NEXT},
    "running": {"running", *_HELD_NEXT},
    **{state: {None} for state in FINAL},  # retention takes what is final
}
SESSION_STEPS: dict[str | None, set[str | None]] = {
    None: {"live"},
    "live": {"live", "draining", "dead", "closed"},
    "draining": {"draining", "dead", "closed"},
    "dead": {"dead"},
    "closed": {"closed"},
}
OURS = "callboard "
COORDINATORS_ONLY = {"assigned", "running", "succeeded", "failed", "quarantined"}  # never by the API
WORKERS_LAG = 2 * SECOND  # a claim that had begun may still assign to a session that has just ended


def task_steps(history: History) -> Iterator[Problem]:
    for task, changes in history.changes.items():
        state: str | None = None
        attempt: int | None = None
        for row in changes:
            old, new = row["old_state"], row["new_state"]
            if old != state or (row["old_attempt"] != attempt and attempt is not None):
                yield Problem("V20", f"task {task}: a step from {old} where {state} was the state", (row,))
                break
            if new not in STEPS.get(old, set()) and old not in FINAL:  # V2 speaks of what is final
                yield Problem("V20", f"task {task} went from {old} to {new}", (row,))
                break
            if new is not None and old is not None and not assigns(row) and row["attempt"] != row["old_attempt"]:
                yield Problem("V20", f"task {task}: its attempt changed without an assignment", (row,))
                break
            if row["actor"] == OURS + "api" and old != new and new in COORDINATORS_ONLY:
                yield Problem("V20", f"task {task} was made {new} by the API", (row,))
            state, attempt = new, row["attempt"]


def session_steps(history: History) -> Iterator[Problem]:
    last: dict[int, Row] = {}
    for row in history.audit:
        if row["table"] != "workers":
            continue
        before = last.get(row["key"])
        state = before["new_state"] if before else None
        if row["old_state"] != state or row["new_state"] not in SESSION_STEPS.get(state, set()):
            yield Problem("V20", f"session {row['key']} went from {state} to {row['new_state']}", (before, row))
        elif before and (row["epoch"] < before["epoch"] or row["epoch"] > before["epoch"] + 1):
            yield Problem("V20", f"session {row['key']}: epoch {row['epoch']} after {before['epoch']}", (before, row))
        last[row["key"]] = row


def only_living_sessions(history: History) -> Iterator[Problem]:
    """What is assigned goes to a session that was there."""
    ended: dict[int, Row] = {}
    known: set[int] = set()
    for row in history.audit:
        if row["table"] == "workers":
            known.add(row["key"])
            if row["new_state"] in ("dead", "closed"):
                ended[row["key"]] = row
        elif row["table"] == "tasks" and assigns(row):
            end = ended.get(row["session"])
            if row["session"] not in known:
                yield Problem(
                    "V20", f"task {row['key']} was assigned to session {row['session']}, which is unknown", (row,)
                )
            elif end is not None and (row["at"] - end["at"]) * SECOND > WORKERS_LAG:
                yield Problem(
                    "V20", f"task {row['key']} was assigned to session {row['session']} after its end", (end, row)
                )
