"""What the actors ask of the world: verbs of the business, not of SQL or gRPC.

Every call is Trio-flavoured. Stores raise the StorageError family and nothing of the driver's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import trio

from actors.model.columns import Assignment, Outcomes, Verdict
from actors.model.lane import Lane
from actors.model.task import Attempt, NewTask, Task
from actors.model.worker import CoordinatorView, HandlerInfo, Held, Session, WorkerInfo, WorkerView


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What a new task has that its submission did not say."""

    run_at: datetime
    created_at: datetime
    queue: str
    max_tries: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """Answer to one submission."""

    id: int
    created: bool  # False: the idempotency key was known, and this is the first answer's task
    first: FirstLook | None = field(default=None, compare=False)  # what the store filled in, where few were posted


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What to list. Empty means everything; `states` are shown states."""

    states: Sequence[str] = ()
    name: str | None = None
    queue: str | None = None
    tag: str | None = None
    worker: str | None = None
    schedule: str | None = None
    workflow: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPatch:
    """What to change of a waiting task; fields not in `fields` stay as they are."""

    fields: frozenset[str]
    run_at: datetime | None = None  # None with "run_at" in fields: now
    priority: int | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRoute:
    """Where the HTTP server of a task's present attempt is reached."""

    state: str  # as stored
    attempt: int
    started: bool  # the present attempt has reported its start
    http_address: str | None  # http://host:port of the worker that holds it; None: it has no HTTP server
    key: bytes | None  # SHA-256 of the worker's session secret: what the api signs routes with


@dataclass(frozen=True, slots=True)
class FullQueues:
    """Queues that take no more, and what leads into them."""

    queues: frozenset[str] = frozenset()
    lanes: Mapping[tuple[str, str | None], str] = field(default_factory=dict)  # (handler, given queue) → queue


class TaskStore(Protocol):
    """Tasks, as clients see them."""

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        """Stores all in one transaction; one answer each, in order.

        An answer is an exception (BadValue, IdempotencyConflict) for a task that could not be stored;
        the others are stored all the same. Returns only after the commit.
        """
        ...

    async def submit_bound(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        """The same for tasks of which some are bound: all of them or, with BadValue, none.

        A duplicate of a unique key is answered with the task that holds it, not created.
        """
        ...

    async def resolve(self, limit: int) -> int:
        """T18. Tells at most `limit` children how their parents ended; 0: no parent was on the list."""
        ...

    async def get(self, task_id: int) -> Task | None: ...
    async def find(self, where: TaskFilter, *, limit: int, before_id: int | None) -> list[Task]:
        """Newest first (falling id), below `before_id`."""
        ...

    async def patch(self, task_id: int, patch: TaskPatch) -> Task:
        """Raises NotFound, or Conflict when the task no longer waits."""
        ...

    async def cancel(self, task_id: int) -> str:
        """ "cancelled" (nothing will start) or "cancelling"; raises NotFound, Conflict(state) when final otherwise."""
        ...

    async def retry(self, task_id: int, *, submitted_by: str | None, with_children: bool = False) -> int:
        """Posts a new task with retry_of; raises NotFound, Conflict (not final, or an unfinished retry exists).

        `with_children`: also those that were cancelled because it did not succeed, one after the other.
        """
        ...

    async def attempts(self, task_id: int) -> list[Attempt]: ...
    async def route(self, task_id: int) -> TaskRoute | None:
        """Where the task's own HTTP server may be; None: no such task."""
        ...

    async def key_hash(self, key: str) -> bytes | None:
        """Hash of the body that an idempotency key was used with; None: not used yet."""
        ...

    async def final_among(self, task_ids: Sequence[int]) -> set[int]:
        """Those of the ids that are final (or gone): one statement for everybody who waits."""
        ...

    async def full_queues(self, limit: int) -> FullQueues:
        """Those in which `limit` tasks or more wait."""
        ...

    async def refresh_statistics(self) -> bool:
        """Lets the database count its tasks anew where it believes that there are hardly any; whether it did."""
        ...

    async def unserved(self, limit: int) -> list[str]:
        """Handlers, `limit` at most, in order, of due tasks that no live worker would take."""
        ...

    async def known_handlers(self) -> dict[str, bool]:
        """Handler name → whether a live worker declares it now."""
        ...

    async def stats(self) -> dict[str, Any]:
        """{"tasks": {shown state: count}, "queues": [...], "workers": {...}}; bounded cost."""
        ...

    async def prune(self, limit: int) -> int:
        """Deletes what retention no longer keeps; returns how many tasks. Also expires waiting tasks."""
        ...

    async def workers(self, *, include_ended: bool = False) -> list[WorkerView]: ...
    async def worker(self, worker_id: str) -> WorkerView | None: ...
    async def set_worker(self, worker_id: str, *, paused: bool | None = None, drain: bool | None = None) -> WorkerView:
        """Writes the wish; the coordinator that holds the link carries it out. Raises NotFound."""
        ...

    async def coordinators(self) -> list[CoordinatorView]: ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """One worker's share of a claim."""

    slot: int  # index into the sessions that were offered
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class ClaimOffer:
    """What a claim may take, and for whom; see DispatchStore.claim."""

    lease_key: bytes
    lanes: Sequence[int]
    sessions: Sequence[tuple[int, int]]
    slots: Sequence[int]
    ack_window: float
    claim_margin: float
    rooms: Sequence[tuple[int, int]] = ()  # of each session: free slots, slots; what heavy tasks go by


@dataclass(frozen=True, slots=True)
class LimitedShares:
    """What a claim under limits got."""

    shares: Sequence[Claimed] = ()
    more: bool = False  # another claim would find more if there were room for it
    again: float | None = None  # seconds after which time alone lets more start
    reserved: int | None = None  # the session that gets nothing else until a heavy task fits


@dataclass(frozen=True, slots=True)
class Posted:
    """Answer to a submission that carried a claim along."""

    answers: list[Submitted | Exception]
    shares: list[Claimed]
    seen: int  # due rows, as `claim` counts them


@dataclass(frozen=True, slots=True)
class Wishes:
    """What operators and clients asked for, of the sessions of one coordinator."""

    cancels: Mapping[int, Sequence[Held]]  # session → attempts to cancel
    paused: frozenset[int]
    drain: frozenset[int]


@dataclass(frozen=True, slots=True)
class History:
    """How far a database had written, and which one it was, at a moment before a commit that it acknowledged."""

    system: int  # the cluster's own identifier
    timeline: int  # rises when a standby takes over
    position: int  # bytes of its log


@dataclass(frozen=True, slots=True)
class Renewed:
    """Answer to a renewal: sessions that are neither renewed nor moved are lost."""

    sessions: frozenset[int]
    wishes: Wishes
    server_started: datetime  # pg_postmaster_start_time: a restart resets the quiet period
    history: History | None = None  # None: it does not say
    clock: float | None = None  # the database's, seconds since the epoch: a step resets the quiet period too
    moved: frozenset[int] = frozenset()  # live, and taken over: their epoch is another


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did."""

    count: int  # tasks that left their attempt
    convicted: Sequence[int]  # sessions whose lease ran out
    taken: Mapping[int, Sequence[Held]]  # live session → attempts taken from it: its worker must stop them


class DispatchStore(Protocol):
    """Tasks and sessions, as coordinators see them. Guards are written in the statements."""

    async def sign_in(self, coordinator_id: str, address: str, version: str, *, ttl: float) -> list[CoordinatorView]:
        """Registers or refreshes a coordinator for `ttl` seconds; returns all live ones."""
        ...

    async def sign_out(self, coordinator_id: str) -> None: ...
    async def declare(self, handlers: Sequence[HandlerInfo]) -> None: ...
    async def lanes(self) -> list[Lane]: ...
    async def claim(
        self,
        *,
        lease_key: bytes,
        lanes: Sequence[int],
        sessions: Sequence[tuple[int, int]],  # (session id, epoch)
        slots: Sequence[int],  # index into sessions, one entry for each task wanted, in round-robin order
        ack_window: float,
        claim_margin: float,
    ) -> tuple[list[Claimed], int]:
        """T1. Claims due tasks, by priority then run_at. The int is how many due rows were seen:
        more than were claimed means that another coordinator took them, so ask again."""
        ...

    async def post(self, tasks: Sequence[NewTask], offer: ClaimOffer) -> Posted:
        """T0 and T1 in one transaction: stores the tasks, then claims. All or nothing of it; never repeated.

        Raises BadValue for a task that can't be stored, StorageTimeout when the outcome is unknown.
        """
        ...

    async def claim_limited(self, offer: ClaimOffer) -> LimitedShares:
        """T1 for special lanes: within the limits of their queues, whoever claims beside it, and where they belong."""
        ...

    async def claimed(self, lease_key: bytes, sessions: Sequence[tuple[int, int]]) -> list[Claimed]:
        """What an earlier claim with unknown outcome got (reads, waiting for locks)."""
        ...

    async def set_aside(self, lane: int, lease_key: bytes, sessions: Sequence[int], why: str) -> int | None:
        """Quarantines the one task at which a claim of one task of this lane failed: what the claim got, else the
        next that is due. Its id; None when there is none."""
        ...

    async def complete(self, outcomes: Outcomes) -> list[Verdict]:
        """T3-T7, T9, T12, T16, T17: one verdict each, in order; repeatable."""
        ...

    async def mark(self, accepted: Sequence[Held], started: Sequence[Held]) -> None:
        """T2, batched: accepted closes the acknowledgement window, started moves to running."""
        ...

    async def save_progress(self, values: Sequence[tuple[int, int, str]]) -> None:
        """(task, attempt, JSON): kept with attempts that are still out; a value that can't be held is dropped."""
        ...

    async def open_session(
        self, worker: WorkerInfo, *, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session: ...
    async def resume_session(
        self, session_id: int, *, worker: WorkerInfo, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session | None:
        """epoch + 1 under a new coordinator; None when the session has ended or the secret is wrong."""
        ...

    async def held_by(self, session_id: int) -> list[Held]: ...
    async def renew(
        self,
        coordinator_id: str,
        sessions: Sequence[tuple[int, int, float]],  # (session, epoch, age of its last heartbeat in seconds)
        *,
        lease: float,
        health: Mapping[int, Mapping[str, Any]],
    ) -> Renewed:
        """Renews all sessions in one statement, and reads the wishes about them."""
        ...

    async def begin_drain(self, session_id: int, epoch: int) -> None:
        """live → draining."""
        ...

    async def close_session(self, session_id: int, epoch: int) -> None:
        """A clean goodbye: closed; what it still holds goes back without penalty."""
        ...

    async def convict(
        self, sessions: Sequence[tuple[int, int]], coordinator_id: str, *, until: float | None = None
    ) -> list[int]:
        """After the grace: dead, where session and epoch and coordinator still match; exclusive holders wait.

        Nobody is when the database's clock (seconds since the epoch) is past `until`: the question was held up.
        """
        ...

    async def sweep(
        self,
        limit: int,
        coordinator_id: str,
        *,
        lease: float | None,
        until: float | None = None,
        sent: Collection[bytes] = (),
        linked: Collection[int] = (),
    ) -> Swept:
        """T6, T8, T9: requeues at most about `limit` tasks of each cause that ended sessions held.

        With `lease` (only a coordinator past its quiet period gives it) also what a clock decides: sessions whose
        lease ran out are convicted (sweep again for what they held), leases that lie too far ahead are clamped,
        and of this coordinator's live sessions come back the assignments that nobody acknowledged and the
        attempts past their time; nothing of it when the database's clock (seconds since the epoch) is past `until`,
        because the question was held up or the clock jumped. An exclusive assignment whose claim is in `sent` is left
        alone: it may be with its worker. Of sessions that are not `linked` nothing comes back: one that has just
        resumed may run what nobody acknowledged, and could not be told.
        """
        ...


class Wakeups(Protocol):
    """Hints that something changed. A hint may be lost; everybody polls as well."""

    def subscribe(self, topic: str) -> trio.MemoryReceiveChannel[None]:
        """A channel of capacity 1 that coalesces; topics: "due", "wishes", "final", "schedules", "parents"."""
        ...

    def notify(self, topic: str) -> None:
        """Wakes subscribers of this process at once."""
        ...
