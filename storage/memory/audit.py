"""An append-only account of what happened to tasks, sessions and coordinators, for judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from storage.memory.rows import SessionRow, TaskRow

_TOLD = ("state", "attempt", "lease_key", "session_id", "tries", "crashes", "undelivered", "run_at",
         "cancel_requested_at", "result_hash", "finished_at")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One change; columns as tests/check_history describes them for audit.jsonl."""

    id: int
    txid: int  # one for each statement
    at: float  # seconds since the epoch, database time
    table: str  # tasks, workers, coordinators
    key: int | str
    old_state: str | None = None  # None: it was not there
    new_state: str | None = None  # None: it was pruned
    old_attempt: int | None = None
    attempt: int | None = None
    lease_key: bytes | None = None  # of a task that left its attempt: the one that it had
    session: int | None = None
    epoch: int | None = None
    tries: int | None = None
    crashes: int | None = None
    undelivered: int | None = None
    cancel: bool | None = None
    result_hash: int | None = None
    run_at: float | None = None
    actor: str = ""

    def as_json(self) -> dict[str, Any]:
        """One line of audit.jsonl."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"lease_key": None if self.lease_key is None else self.lease_key.hex()}


def of_task(old: TaskRow | None, new: TaskRow | None) -> dict[str, Any] | None:
    """What to write of a change of a task; None: nothing that a judge asks for."""
    if new is None:
        assert old is not None
        return {"table": "tasks", "key": old.id, "old_state": old.state, "old_attempt": old.attempt}
    if old is not None and all(getattr(old, name) == getattr(new, name) for name in _TOLD):
        return None
    return {
        "table": "tasks", "key": new.id, "new_state": new.state, "attempt": new.attempt, "tries": new.tries,
        "old_state": old and old.state, "old_attempt": None if old is None else old.attempt,
        "lease_key": new.lease_key or (old and old.lease_key), "session": new.session_id or (old and old.session_id),
        "crashes": new.crashes, "undelivered": new.undelivered, "cancel": new.cancel_requested_at is not None,
        "result_hash": new.result_hash, "run_at": new.run_at.timestamp(),
    }  # fmt: skip


def of_session(old: SessionRow | None, new: SessionRow | None) -> dict[str, Any] | None:
    """The same for a session; that it was pruned is not told."""
    if new is None or (old is not None and (old.state, old.epoch, old.coordinator_id) == (
        new.state, new.epoch, new.coordinator_id,
    )):  # fmt: skip
        return None
    return {
        "table": "workers", "key": new.session_id, "old_state": old and old.state, "new_state": new.state,
        "session": new.session_id, "epoch": new.epoch,
    }  # fmt: skip


def of_coordinator(there: bool, now_there: bool, name: str) -> dict[str, Any] | None:
    """Signed in, signed out."""
    if there == now_there:
        return None
    return {
        "table": "coordinators", "key": name, "old_state": "there" if there else None,
        "new_state": "there" if now_there else "gone",
    }  # fmt: skip
