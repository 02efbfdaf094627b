"""What the table refuses, whatever statement asks for it: the trigger and the CHECKs of the migration."""

from __future__ import annotations

from actors.model.errors import BadValue, StorageError
from storage.memory.rows import FINAL, HELD, OPEN, WAITING, SessionRow, TaskRow
from storage.memory.values import within

STATES = FINAL | HELD | WAITING
MOVES = {
    "queued": {"queued", "assigned", "cancelled", "expired", "quarantined"},
    "blocked": {"blocked", "queued", "cancelled", "expired"},
    "assigned": STATES - {"blocked", "expired"},
    "running": STATES - {"blocked", "expired", "assigned"},
}


class IllegalChange(StorageError):
    """No statement of ours does this."""


def check_change(old: TaskRow, new: TaskRow) -> None:
    """Final rows are final; the fencing token rises by one with each assignment and never otherwise; a held row keeps
    its lease; no state is reached but by its moves. Raises IllegalChange."""
    assigned = old.state == "queued" and new.state == "assigned"
    if (
        old.finished_at is not None
        or old.id != new.id
        or new.attempt != old.attempt + assigned
        or new.state not in MOVES.get(old.state, ())
        or (old.state in HELD and new.state in HELD and lease_of(old) != lease_of(new))
    ):
        raise IllegalChange(
            f"callboard: illegal change of task {old.id}"
            f" ({old.state} attempt {old.attempt} to {new.state} attempt {new.attempt})"
        )


def lease_of(row: TaskRow) -> tuple[bytes | None, int | None]:
    return row.lease_key, row.session_id


def check_task(row: TaskRow) -> None:
    """A row must mean something; raises BadValue."""
    if row.state not in STATES:
        raise BadValue("value", f"no state of a task: {row.state}")
    within(row.priority, 1, 4, "priority")
    within(row.max_tries, 1, 1000, "max_tries")
    if row.timeout is not None and not row.timeout > 0:
        raise BadValue("value", "timeout must be above 0")
    if row.max_tries is not None and row.tries > row.max_tries:
        raise BadValue("value", "tries must not exceed max_tries")
    leased = row.lease_key is not None, row.session_id is not None
    if (row.state in HELD and leased != (True, True)) or (row.state in WAITING and leased != (False, False)):
        raise BadValue("value", f"a task that is {row.state} has a lease exactly while it is held")
    if (row.state in FINAL) != (row.finished_at is not None):
        raise BadValue("value", f"a task that is {row.state} has a time of its end exactly when it is final")


def check_session(row: SessionRow) -> None:
    """Raises BadValue."""
    within(row.slots, 1, 10_000, "slots")
    if row.state not in OPEN | {"dead", "closed"}:
        raise BadValue("value", f"no state of a session: {row.state}")
    if (row.state in OPEN) != (row.ended_at is None):
        raise BadValue("value", f"a session that is {row.state} has a time of its end exactly when it ended")
