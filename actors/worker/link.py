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
from actors.runtime.supervisor import describe, leaves
from actors.worker.lease import WorkerLease
from actors.worker.ledger import Ledger

log = logging.getLogger(__name__)

TREE_EVERY = 2.0  # seconds between reports of the supervision tree, when it changed
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
    ) -> None:
        self._worker, self._secret, self._token, self._dial = worker, secret, token, dial
        self._addresses, self._crew, self._health, self._tree = list(addresses), crew, health, tree
        self._on_drain = on_drain
        self.ledger = Ledger()
        self.lease = WorkerLease(terms)
        self.state = LinkState()
        self._end: wire.WorkerEnd | None = None
        self._scope = trio.CancelScope()
        self._next_address = 0
        self._last_heard = 0.0
        self._frozen_since: float | None = None
        self._reported_at: dict[int, float] = {}  # report → when it was sent on this stream
        self._settled = trio.Event()
        self.draining = False
        self._goodbye = False

    # --- from the crew ----------------------------------------------------------------------------

    def finished(self, outcomes: Outcomes) -> None:
        """Outcomes of attempts; kept until acknowledged."""
        for report in self.ledger.finish(outcomes):
            self._tell_report(report)

    def started(self, attempts: Sequence[Held]) -> None:
        if attempts:
            self._tell(wire.Started(list(attempts)))

    def progressed(self, values: Sequence[tuple[int, int, str]]) -> None:
        self._tell(wire.Progress(list(values)))

    # --- the actor --------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watchdog)
            failures = 0
            while not self._goodbye:
                address = self._pick()
                try:
                    await self._serve(address)
                    failures = 0
                except* LinkRejected as group:
                    failures += self._rejected(address, group)
                except* LinkLost as group:
                    log.warning("link to %s lost: %s", address, describe(group))
                    failures += 1
                self._disconnected()
                await self._back_off(failures)
            nursery.cancel_scope.cancel("signed out")

    def _rejected(self, address: str, group: BaseExceptionGroup[LinkRejected]) -> int:
        rejection = next(error for error in leaves(group) if isinstance(error, LinkRejected))
        self.state.rejected = rejection.reason
        log.log(logging.WARNING if rejection.retry else logging.ERROR, "%s: %s", address, rejection.reason)
        return 1 if rejection.retry else 5

    async def _back_off(self, failures: int) -> None:
        """Full jitter: a herd of workers whose coordinator went away comes back spread out."""
        first = self.lease.terms.reconnect_delay
        ceiling = first if failures <= len(self._known()) else min(MAX_DELAY, first * 2.0 ** (failures - 1))
        await trio.sleep(random.uniform(0.1, 1.0) * ceiling)

    def _known(self) -> list[str]:
        """Configured addresses first, then those that coordinators told."""
        return list(dict.fromkeys([*self._addresses, *self.state.coordinators]))

    def _pick(self) -> str:
        known = self._known()
        address = known[self._next_address % len(known)]
        self._next_address += 1
        return address

    async def _serve(self, address: str) -> None:
        """One stream, from Hello to its end. Raises LinkLost, LinkRejected."""
        async with self._dial(address, self.lease.terms) as end:
            hello_at = self.lease.now()
            await end.outgoing.send(
                wire.Hello(
                    worker=self._worker(),
                    secret=self._secret,
                    session=self.state.session,
                    running=self.ledger.attempts(),
                    token=self._token,
                )
            )
            welcome = await self._welcome(end)
            self._signed_in(welcome, hello_at, address)
            self._end = end
            try:
                for report in self.ledger.open_reports():
                    self._tell_report(report)
                if self.draining:
                    self._tell(wire.Draining())
                async with trio.open_nursery() as nursery:
                    self._scope = nursery.cancel_scope
                    nursery.start_soon(self._beat)
                    nursery.start_soon(self._watch, address)
                    nursery.start_soon(self._send_tree)
                    await self._read(end)
                    nursery.cancel_scope.cancel("the stream has ended")
            finally:
                self._end = None
        self._next_address -= 1  # back to the same one first: it may just have been restarted

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

    def _signed_in(self, welcome: wire.Welcome, hello_at: float, address: str) -> None:
        state, resumed = self.state, welcome.resumed and welcome.session == self.state.session
        if not resumed and self.ledger.running:
            self._stop_everything("the session has ended")
        state.connected, state.coordinator, state.session = True, address, welcome.session
        state.coordinators, state.rejected, state.frozen = list(welcome.coordinators), None, False
        state.last_reply = self._last_heard = trio.current_time()
        state.paused = False
        self._frozen_since = None
        self._reported_at.clear()
        self.ledger.epoch = welcome.epoch
        self._crew.set_deadline(self.lease.signed_in(welcome.terms, hello_at))
        if welcome.stop:
            self._crew.cancel(self.ledger.still(welcome.stop), "session")
        log.info("signed in at %s: session %d epoch %d", address, welcome.session, welcome.epoch)

    def _disconnected(self) -> None:
        self.state.connected = False

    async def _read(self, end: wire.WorkerEnd) -> None:
        async for message in end.incoming:
            self._last_heard = trio.current_time()
            match message:
                case wire.Assign(assignment=assignment):
                    self._assigned(assignment)
                case wire.Committed():
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

    def _assigned(self, assignment: Assignment) -> None:
        if self.draining:
            self._hand_back(assignment, "this worker is draining")
        elif self.ledger.take(assignment):
            self._tell(wire.Accepted(assignment.lease_key))
            self._crew.assign(assignment)

    def _hand_back(self, assignment: Assignment, why: str) -> None:
        body = json.dumps({"type": "Refused", "message": why}).encode()
        count = len(assignment)
        self.finished(
            Outcomes(
                [assignment.lease_key],
                [0] * count,
                assignment.ids,
                assignment.attempts,
                [Outcome.RELEASED] * count,
                [len(body)] * count,
                body * count,
            )
        )

    def _committed(self, message: wire.Committed) -> None:
        self._reported_at.pop(message.sequence, None)
        refused = self.ledger.settle(message)
        if refused:
            log.warning("%d late outcomes were refused: the tasks had gone to others", refused)
        self._settled.set()

    def _replied(self, reply: wire.HeartbeatReply) -> None:
        state, now = self.state, trio.current_time()
        state.last_reply, state.database_ok, state.database_age = now, reply.database_ok, reply.database_age
        state.database_seen = now - reply.database_age
        if reply.coordinators:
            state.coordinators = list(reply.coordinators)
        state.frozen = reply.lease is wire.Lease.FROZEN
        match reply.lease:
            case wire.Lease.LOST:
                self._lose("the coordinator says that the session has ended")
                self._scope.cancel("session lost")
            case wire.Lease.FROZEN:
                self._frozen(reply, now)
            case wire.Lease.RENEWED:
                self._frozen_since = None
                self._crew.set_deadline(self.lease.confirmed(reply.confirmed))

    def _frozen(self, reply: wire.HeartbeatReply, now: float) -> None:
        """FROZEN vouches for the heartbeat it answers; after a while of it, another coordinator is asked."""
        self._crew.set_deadline(self.lease.confirmed(reply.sequence))
        self._frozen_since = self._frozen_since or now
        if now - self._frozen_since > self.lease.terms.silence and len(self._known()) > 1:
            self._next_address += 1
            self._scope.cancel("frozen: asking another coordinator")

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

    async def _watch(self, address: str) -> None:
        """Drops a stream that is silent, or that passes heartbeats but never answers outcomes."""
        limit = self.lease.terms.silence
        while True:
            await trio.sleep(limit / 6)
            now = trio.current_time()
            if now - self._last_heard > limit:
                self._next_address += 1
                raise LinkLost(f"nothing heard for {limit:g} s")
            oldest = min(self._reported_at.values(), default=now)
            if now - oldest > limit and not self.state.frozen:
                self._next_address += 1
                raise LinkLost(f"outcomes unanswered for {limit:g} s")

    async def _send_tree(self) -> None:
        last = ""
        while True:
            shown = json.dumps(self._tree())
            if shown != last:
                self._tell(wire.Tree(shown))
                last = shown
            await trio.sleep(TREE_EVERY)

    async def _watchdog(self) -> None:
        """The lease's end is the end of its work, with or without a stream."""
        while True:
            left = self.lease.left()
            if left is not None and left <= 0:
                self._lose(f"the lease could not be renewed for {self.lease.terms.lease - self.lease.terms.margin:g} s")
                self._scope.cancel("lease lost")
                left = None
            await trio.sleep(0.25 if left is None else min(left, 0.25))

    def _lose(self, why: str) -> None:
        log.error("%s: everything that runs here is stopped", why)
        self._stop_everything(why)
        self.state.session = 0
        self.lease.ended()
        self._crew.set_deadline(None)

    def _stop_everything(self, why: str) -> None:
        if self.ledger.running:
            self._crew.cancel(self.ledger.running_ids(), "lease")

    # --- sending ------------------------------------------------------------------------------------

    def _tell_report(self, report: wire.Report) -> None:
        if self._tell(report):
            self._reported_at[report.sequence] = trio.current_time()

    def _tell(self, message: wire.WorkerMessage) -> bool:
        """Never waits. A coordinator that does not read is left; what matters is sent again at the next."""
        if self._end is None:
            return False
        try:
            self._end.outgoing.send_nowait(message)
        except trio.WouldBlock:
            self._scope.cancel("the coordinator does not read its stream")
            return False
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    # --- leaving ------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Nothing more is taken; what runs goes on."""
        self.draining = True
        self._tell(wire.Draining())

    async def flush(self, limit: float) -> bool:
        """Waits until every outcome is acknowledged, at most `limit` seconds; whether it is."""
        with trio.move_on_after(limit):
            while self.ledger.unacknowledged:
                self._settled = trio.Event()
                await self._settled.wait()
        return not self.ledger.unacknowledged

    async def sign_out(self) -> None:
        """Says Goodbye; the session is closed."""
        self._goodbye = True
        if self._end is not None:
            with trio.move_on_after(1):
                await self._end.outgoing.send(wire.Goodbye())
                await trio.sleep(0.05)
        self._scope.cancel("signed out")
