"""What a worker and a coordinator say to each other; protos/callboard/v1/link.proto is the published form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import trio

from actors.model.columns import Assignment, Outcomes, Verdict
from actors.model.lease import LeaseTerms
from actors.model.worker import Held, WorkerInfo

PROTOCOL = 1
OLDEST = max(1, PROTOCOL - 1)  # spoken too, so that nodes may be replaced one by one


def agreed(newest: int, oldest: int) -> int | None:
    """What to speak with somebody who speaks these; None: there is nothing that both know."""
    common = min(PROTOCOL, newest)
    return common if common >= max(OLDEST, oldest or newest) else None


class Lease(IntEnum):
    """What a heartbeat was answered."""

    RENEWED = 0
    FROZEN = 1
    LOST = 2


# worker → coordinator


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    worker: WorkerInfo
    secret: bytes
    session: int = 0  # 0: a new one
    running: Sequence[Held] = ()
    token: str = ""
    protocol: int = PROTOCOL
    oldest_protocol: int = OLDEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    sequence: int
    running: int
    loop_lag: float
    health: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    key: bytes
    ids: Sequence[int] = ()  # empty: all of the claim


@dataclass(frozen=True, slots=True)
class Started:
    attempts: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Report:
    """Outcomes, with the number that the answer quotes."""

    sequence: int
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class Progress:
    values: Sequence[tuple[int, int, str]]  # (task, attempt, JSON)


@dataclass(frozen=True, slots=True)
class Draining:
    pass


@dataclass(frozen=True, slots=True)
class Goodbye:
    moving: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    json: str


# coordinator → worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    session: int
    epoch: int
    terms: LeaseTerms
    coordinators: Sequence[str]
    stop: Sequence[Held]
    resumed: bool
    unnamed: Sequence[Held] = ()  # the session's in the table, and not in Hello: only the worker knows if they arrived
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply:
    sequence: int
    lease: Lease
    confirmed: int
    coordinators: Sequence[str]
    database_ok: bool
    database_age: float


@dataclass(frozen=True, slots=True)
class Assign:
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Committed:
    sequence: int
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class Cancel:
    attempts: Sequence[Held]
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    paused: bool


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str
    retry: bool


# either way


@dataclass(frozen=True, slots=True)
class Unsupported:
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown(Unsupported):
    """A message of a kind that this release does not know: it is answered with Unsupported, and changes nothing."""


WorkerMessage = Hello | Heartbeat | Accepted | Started | Report | Progress | Draining | Goodbye | Tree | Unsupported
CoordinatorMessage = Welcome | HeartbeatReply | Assign | Committed | Cancel | Drain | Pause | Reject | Unsupported


@dataclass(slots=True)
class CoordinatorEnd:
    """The coordinator's end of one link: leaving the handler ends the stream."""

    peer: str  # host of the other end
    incoming: trio.MemoryReceiveChannel[WorkerMessage]  # ends when the stream ends
    outgoing: trio.MemorySendChannel[CoordinatorMessage]


@dataclass(slots=True)
class WorkerEnd:
    """The worker's end of one link."""

    address: str
    incoming: trio.MemoryReceiveChannel[CoordinatorMessage]
    outgoing: trio.MemorySendChannel[WorkerMessage]


class LinkHandler(Protocol):
    """Serves one link until it ends; the transport calls it in a task of its own, once a stream."""

    async def __call__(self, end: CoordinatorEnd) -> None: ...
