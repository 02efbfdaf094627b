"""The linear truth: every change of a task or a session, in the order in which the store made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})
HELD = frozenset({"assigned", "running"})


class Look(NamedTuple):
    """What of a task's row matters to a judge."""

    state: str
    attempt: int
    key: bytes | None
    session: int | None
    tries: int
    crashes: int
    undelivered: int
    snoozes: int
    wish: bool  # somebody wants it cancelled


@dataclass(slots=True)
class Change:
    at: float
    cause: str  # the statement
    task: int
    old: Look | None
    new: Look


@dataclass(slots=True)
class SessionChange:
    at: float
    cause: str
    session: int
    worker: str  # name and life of the node
    old: str | None
    new: str


@dataclass(slots=True)
class Ended:
    """An attempt that ended otherwise than with success, as the table keeps it."""

    task: int
    attempt: int
    key: bytes | None
    outcome: str
    accepted: bool


@dataclass(slots=True)
class Row:
    """A task as it is in the end."""

    id: int
    name: str
    look: Look
    args: dict[str, object]
    result: object
    idempotency_key: str | None = None
