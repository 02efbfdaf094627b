"""The worker's stream to a coordinator: signs in, beats, reports, and comes back when it is lost."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from actors.model import link as wire
from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.errors import LinkLost, LinkRejected
from actors.model.lease import LeaseTerms
from actors.model.worker import Held, WorkerInfo
from actors.runtime.periodic import boottime
from actors.runtime.supervisor import describe, leaves
from actors.worker.books import unstarted
from actors.worker.lease import WorkerLease
from actors.worker.ledger import Ledger
from actors.worker.stream import Stream

log = logging.getLogger(__name__)

TREE_EVERY = 2.0  # seconds between reports of the supervision tree, when it changed
TREE_AGE = 15.0  # seconds after which it is reported though only time has passed
MAX_DELAY = 5.0  # seconds between attempts to connect


class Executors(Protocol):
    """What the link asks of the crew. Nothing here waits."""

    def assign(self, assignment: Assignment) -> None: ...
    def cancel(self, ids: Sequence[int], reason: str) -> None: ...
    def set_deadline(self, deadline: float | None) -> None:
        """CLOCK_BOOTTIME instant at which executors stop by themselves."""
        ...


Dial = Callable[[str, LeaseTerms], AbstractAsyncContextManager[wire.WorkerEnd]]


@dataclass(slots=True)
class LinkState:
    """What health and supervision show of the link. Written by the link actor only."""

    connected: bool = False
    coordinator: str | None = None
    session: int = 0
    last_reply: float | None = None  # trio time
    database_ok: bool | None = None
    database_age: float | None = None
    database_seen: float | None = None
    frozen: bool = False
    paused: bool = False
    rejected: str | None = None
    coordinators: list[str] = field(default_factory=list)


class WorkerLink:
    """The actor that owns the stream, the ledger and the lease."""

    def __init__(
        self,
        *,
        worker: Callable[[], WorkerInfo],
        secret: bytes,
        token: str,
        addresses: Sequence[str],
        dial: Dial,
        crew: Executors,
        terms: LeaseTerms,
        health: Callable[[], Mapping[str, Any]],
        tree: Callable[[], Mapping[str, Any]],
        on_drain: Callable[[str], None],
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._worker, self._secret, self._token, self._dial = worker, secret, token, dial
        self._addresses, self._crew, self._health, self._tree = list(addresses), crew, health, tree
        self._on_drain = on_drain
        self.ledger = Ledger()
        self.lease = WorkerLease(terms, clock=clock)
        self.state = LinkState()
        self._stream: Stream | None = None
        self._nursery: trio.Nursery | None = None
        self._turn = 0  # which of the known addresses is dialled next
        self._slots = 0
        self._frozen_since: float | None = None
        self._thawed_at = 0.0  # until then the coordinator's database did not answer
        self._seeking = False  # another coordinator is being asked while this one is frozen
        self._lost_meanwhile = False
        self._settled = trio.Event()
        self.draining = False
        self._goodbye = False

    # --- from the crew ----------------------------------------------------------------------------

    def finished(self, outcomes: Outcomes) -> None:
        """Outcomes of attempts; kept until acknowledged."""
        for report in self.ledger.finish(outcomes, trio.current_time()):
            self._tell(report)

    def started(self, attempts: Sequence[Held]) -> None:
        begun = self.ledger.begin(attempts)
        if begun:
            self._tell(wire.Started(begun))

    def progressed(self, values: Sequence[tuple[int, int, str]]) -> None:
        self._tell(wire.Progress(list(values)))

    # --- the actor --------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Until signed out. A coordinator that is away is expected, and waited for."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            self._nursery.start_soon(self._watchdog)
            failures = 0
            while not self._goodbye:
                address = self._address()
                try:
                    await self._nursery.start(self._serve, address)
                    failures = 0
                except* LinkRejected as group:
                    failures += self._rejected(address, group)
                    self._turn += 1
                except* LinkLost as group:
                    log.warning("%s: %s", address, describe(group))
                    failures += 1
                    self._turn += 1
                while self._stream is not None:
                    await self._stream.ended.wait()
                await self._back_off(failures)
            self._nursery.cancel_scope.cancel("signed out")

    def _rejected(self, address: str, group: BaseExceptionGroup[LinkRejected]) -> int:
        rejection = next(error for error in leaves(group) if isinstance(error, LinkRejected))
        self.state.rejected = rejection.reason
        log.log(logging.WARNING if rejection.retry else logging.ERROR, "%s: %s", address, rejection.reason)
        return 1 if rejection.retry else 5

    async def _back_off(self, failures: int) -> None:
        """Full jitter: a herd of workers whose coordinator went away comes back spread out."""
        first = self.lease.terms.reconnect_delay
        ceiling = first if failures <= len(self._known()) else min(MAX_DELAY, first * 2.0 ** min(failures - 1, 10))
        await trio.sleep(random.uniform(0.1, 1.0) * ceiling)

    def _known(self) -> list[str]:
        """Configured addresses first, then those that coordinators told."""
        return list(dict.fromkeys([*self._addresses, *self.state.coordinators]))

    def _address(self) -> str:
        """A coordinator whose stream closed is tried again first: it may just have been restarted."""
        known = self._known()
        return known[self._turn % len(known)]

    # --- one stream -------------------------------------------------------------------------------

    async def _serve(self, address: str, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """One stream, from Hello to its end; started when it is the one that counts.

        Raises LinkLost and LinkRejected only before that.
        """
        signed_in = False
        try:
            async with self._dial(address, self.lease.terms) as end:
                hello_at = self.lease.now()
                await end.outgoing.send(self._hello())
                welcome = await self._welcome(end)
                stream, former = Stream(address, end), self._stream
                self._stream = stream
                self._signed_in(stream, welcome, hello_at)
                signed_in = True
                task_status.started()
                if former is not None:  # after started: until then this task belongs to the former one
                    former.scope.cancel(f"the session moved to {address}")
                await self._run_stream(stream)
        except* LinkRejected as group:
            if not signed_in:
                raise
            self._rejected(address, group)
        except* LinkLost as group:
            if not signed_in:
                raise
            log.warning("link to %s lost: %s", address, describe(group))

    def _hello(self) -> wire.Hello:
        worker = self._worker()
        self._slots = worker.slots
        return wire.Hello(
            worker=worker,
            secret=self._secret,
            session=self.state.session,
            running=self.ledger.attempts(),
            token=self._token,
        )

    async def _run_stream(self, stream: Stream) -> None:
        try:
            with stream.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send)
                    nursery.start_soon(self._beat)
                    nursery.start_soon(self._watch, stream)
                    nursery.start_soon(self._send_tree)
                    nursery.start_soon(self._seek, stream)
                    await self._read(stream)
                    nursery.cancel_scope.cancel("the stream has ended")
        finally:
            if self._stream is stream:
                self._stream, self.state.connected = None, False
            stream.ended.set()

    async def _welcome(self, end: wire.WorkerEnd) -> wire.Welcome:
        with trio.move_on_after(self.lease.terms.connect_limit + self.lease.terms.statement_limit):
            try:
                answer = await end.incoming.receive()
            except trio.EndOfChannel:
                raise LinkLost("it closed the stream before Welcome") from None
            if isinstance(answer, wire.Reject):
                raise LinkRejected(answer.reason, retry=answer.retry)
            if isinstance(answer, wire.Welcome):
                return answer
            raise LinkLost(f"it answered Hello with {type(answer).__name__}")
        raise LinkLost("it did not answer Hello in time")

    def _signed_in(self, stream: Stream, welcome: wire.Welcome, hello_at: float) -> None:
        state, resumed = self.state, welcome.resumed and welcome.session == self.state.session
        if not resumed:
            self._stop_everything("session")
            self.lease.ended()
        state.connected, state.coordinator, state.session = True, stream.address, welcome.session
        state.coordinators, state.rejected, state.frozen = list(welcome.coordinators), None, False
        state.last_reply, state.paused = trio.current_time(), False
        self._frozen_since = None
        self.ledger.epoch = welcome.epoch
        self._crew.set_deadline(self.lease.signed_in(welcome.terms, hello_at))
        if welcome.stop:
            self._crew.cancel(self.ledger.still(welcome.stop), "session")
        log.info("signed in at %s: session %d epoch %d", stream.address, welcome.session, welcome.epoch)
        if self.draining:
            stream.tell(wire.Draining())
        if begun := self.ledger.begun():
            stream.tell(wire.Started(begun))
        for report in self.ledger.open_reports():
            stream.tell(report)

    async def _read(self, stream: Stream) -> None:
        async for message in stream.end.incoming:
            stream.heard_at = trio.current_time()
            match message:
                case wire.Assign(assignment=assignment):
                    self._assigned(assignment)
                case wire.Committed():
                    stream.answered(message.sequence)
                    self._committed(message)
                case wire.HeartbeatReply():
                    self._replied(message)
                case wire.Cancel(attempts=attempts, reason=reason):
                    self._crew.cancel(self.ledger.still(attempts), reason)
                case wire.Drain(reason=reason):
                    self._on_drain(reason)
                case wire.Pause(paused=paused):
                    self.state.paused = paused
                case wire.Reject(reason=reason, retry=retry):
                    raise LinkRejected(reason, retry=retry)
                case wire.Unsupported(detail=detail):
                    log.warning("the coordinator does not support: %s", detail)
                case _:
                    self._tell(wire.Unsupported(f"{type(message).__name__} is not expected here"))

    # --- assignments --------------------------------------------------------------------------------

    def _assigned(self, assignment: Assignment) -> None:
        left = self.lease.left()
        if self.draining:
            self._hand_back(assignment, Outcome.RELEASED, "this worker is draining")
        elif left is None or left <= 0:
            self._hand_back(assignment, Outcome.REFUSED, "the lease of this worker is over")
        elif self.state.frozen:
            self._hand_back(assignment, Outcome.REFUSED, "the lease can't be renewed at present: nothing is started")
        elif self.ledger.is_full(self._slots, trio.current_time()):
            self._hand_back(assignment, Outcome.REFUSED, "too many outcomes of this worker are unacknowledged")
        else:
            self._take(assignment)

    def _take(self, assignment: Assignment) -> None:
        taken = self.ledger.take(assignment)
        if taken.refuse is not None:
            self._hand_back(taken.refuse, Outcome.REFUSED, taken.why)
        if assignment.epoch >= self.ledger.epoch:
            self._tell(wire.Accepted(assignment.lease_key))  # also of a repeat: the first may have been lost
        if taken.start is not None:
            self._crew.assign(taken.start)

    def _hand_back(self, assignment: Assignment, kind: Outcome, why: str) -> None:
        self.finished(unstarted(assignment, kind, why))

    def _committed(self, message: wire.Committed) -> None:
        refused = self.ledger.settle(message)
        if refused:
            log.warning("%d late outcomes were refused: the tasks had gone to others", refused)
        self._settled.set()

    # --- the lease ----------------------------------------------------------------------------------

    def _replied(self, reply: wire.HeartbeatReply) -> None:
        state, now = self.state, trio.current_time()
        state.last_reply, state.database_ok, state.database_age = now, reply.database_ok, reply.database_age
        state.database_seen = now - reply.database_age
        if reply.coordinators:
            state.coordinators = list(reply.coordinators)
        if state.frozen or not reply.database_ok:
            self._thawed_at = now
        state.frozen = reply.lease is wire.Lease.FROZEN
        match reply.lease:
            case wire.Lease.LOST if self._seeking:
                self._lost_meanwhile = True  # perhaps because the other coordinator has it by now
            case wire.Lease.LOST:
                self._lose("the coordinator says that the session has ended", "session")
            case wire.Lease.FROZEN:
                if self._frozen_since is None:
                    self._frozen_since = now
                self._crew.set_deadline(self.lease.confirmed(reply.sequence, firm=False))
            case wire.Lease.RENEWED:
                self._frozen_since = None
                self._crew.set_deadline(self.lease.confirmed(reply.confirmed))

    async def _watchdog(self) -> None:
        """The lease's end is the end of its work, with or without a stream."""
        while True:
            left, firm = self.lease.left(), self.lease.firm_left()
            if left is not None and left <= 0:
                usable = self.lease.terms.lease - self.lease.terms.margin
                self._lose(f"the lease could not be renewed for {usable:g} s", "lease")
                left = None
            elif firm is not None and firm <= 0 and (ids := self.ledger.exclusive_ids()):
                self._crew.cancel(ids, "lease")  # FROZEN does not vouch for exclusive tasks
            times = [0.25, *(one for one in (left, firm) if one is not None and one > 0)]
            await trio.sleep(min(times))

    def _lose(self, why: str, reason: str) -> None:
        """No session any more. Late outcomes are reported in the next one: refused, and kept as evidence."""
        log.error("%s: everything that runs here is stopped", why)
        self._stop_everything(reason)
        self.state.session = 0
        self.lease.ended()
        self._crew.set_deadline(None)
        if self._stream is not None:
            self._stream.scope.cancel(why)

    def _stop_everything(self, reason: str) -> None:
        if self.ledger.running:
            self._crew.cancel(self.ledger.running_ids(), reason)

    # --- beside the reader --------------------------------------------------------------------------

    async def _beat(self) -> None:
        lag = 0.0
        while True:
            self._tell(
                wire.Heartbeat(
                    sequence=self.lease.beat(),
                    running=self.ledger.running,
                    loop_lag=round(lag, 3),
                    health=self._health(),
                )
            )
            due = trio.current_time() + self.lease.terms.heartbeat * random.uniform(0.9, 1.1)
            await trio.sleep_until(due)
            lag = max(0.0, trio.current_time() - due)

    async def _watch(self, stream: Stream) -> None:
        """Drops a stream that is silent, is not read, or passes heartbeats but never answers outcomes."""
        limit = self.lease.terms.silence
        while True:
            await trio.sleep(limit / 6)
            trouble = stream.trouble(limit, trio.current_time() if self.state.frozen else self._thawed_at)
            if trouble is not None:
                self._turn += 1
                raise LinkLost(trouble)

    async def _seek(self, stream: Stream) -> None:
        """While this coordinator is frozen, the others are asked; this one is kept until another renews."""
        limit = self.lease.terms.silence
        while True:
            await trio.sleep(limit / 2)
            if self._frozen_since is None or trio.current_time() - self._frozen_since < limit / 2:
                continue
            for place, address in enumerate(self._known()):
                if address != stream.address and await self._move(address):
                    self._turn = place
                    return

    async def _move(self, address: str) -> bool:
        assert self._nursery is not None
        moved = False
        self._seeking, self._lost_meanwhile = True, False
        try:
            await self._nursery.start(self._serve, address)
            moved = True
        except* (LinkLost, LinkRejected) as group:
            log.info("%s does not take the session over either: %s", address, describe(group))
        finally:
            self._seeking = False
        if not moved and self._lost_meanwhile:
            self._lose("the coordinator says that the session has ended", "session")
        return moved

    async def _send_tree(self) -> None:
        last, told_at = "", trio.current_time()
        while True:
            tree = self._tree()
            shown = json.dumps(without_uptime(tree))
            if shown != last or trio.current_time() - told_at > TREE_AGE:
                self._tell(wire.Tree(json.dumps(tree)))
                last, told_at = shown, trio.current_time()
            await trio.sleep(TREE_EVERY)

    def _tell(self, message: wire.WorkerMessage) -> None:
        """Never waits. Without a stream nothing is told: what matters is told again on the next one."""
        if self._stream is not None:
            self._stream.tell(message)

    # --- leaving ------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Nothing more is taken; what runs goes on."""
        if not self.draining:
            self.draining = True
            self._tell(wire.Draining())

    async def flush(self, limit: float) -> bool:
        """Waits until every outcome is acknowledged, at most `limit` seconds; whether it is."""
        with trio.move_on_after(limit):
            while self.ledger.unacknowledged:
                self._settled = trio.Event()
                await self._settled.wait()
        return not self.ledger.unacknowledged

    async def sign_out(self, limit: float = 1.0) -> None:
        """Says Goodbye and waits until the coordinator has heard it, at most `limit` seconds; `run` then ends."""
        self._goodbye = True
        stream = self._stream
        if stream is not None:
            stream.tell(wire.Goodbye())
            with trio.move_on_after(limit):
                await stream.ended.wait()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel("signed out")


def without_uptime(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree without what changes by the mere passing of time."""
    kept = {name: value for name, value in tree.items() if name != "uptime"}
    kept["children"] = [without_uptime(child) for child in tree.get("children", ())]
    return kept
