"""One registration of the worker: what it may run, until when, and what it still has to report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from actors.model import link as wire
from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.lease import LeaseTerms
from actors.model.worker import Held
from actors.runtime import probe
from actors.worker.books import undelivered, unstarted
from actors.worker.lease import WorkerLease
from actors.worker.ledger import Ledger

log = logging.getLogger(__name__)

WATCH_EVERY = 0.25  # seconds between looks at the deadline, because timers stand still while a machine sleeps


class Executors(Protocol):
    """What the link asks of the crew. Nothing here waits."""

    def assign(self, assignment: Assignment) -> None: ...
    def cancel(self, ids: Sequence[int], reason: str) -> None: ...
    def set_deadline(self, deadline: float | None) -> None:
        """CLOCK_BOOTTIME instant at which executors stop by themselves."""
        ...


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


class WorkerSession:
    """Keeps the ledger and the lease, from one stream to the next and from one session to the next.

    `tell` sends to the coordinator, if there is one; `leave` ends the present stream.
    """

    def __init__(
        self,
        crew: Executors,
        terms: LeaseTerms,
        *,
        tell: Callable[[wire.WorkerMessage], None],
        leave: Callable[[str], None],
        clock: Callable[[], float],
        frozen_limit: float | None = None,
    ) -> None:
        self._frozen_limit = frozen_limit
        self._crew, self._tell, self._leave = crew, tell, leave
        self.ledger, self.lease, self.state = Ledger(), WorkerLease(terms, clock=clock), LinkState()
        self.slots = 0  # as the last Hello said
        self.draining = False
        self.frozen_since: float | None = None
        self.thawed_at = 0.0  # until then the coordinator's database did not answer
        self.moving = False  # another coordinator is being asked while this one is frozen
        self.lost_meanwhile = False
        self._settled = trio.Event()
        self._arrived: list[Held] = []  # on an earlier stream, unknown to the coordinator of the present one

    # --- signing in ---------------------------------------------------------------------------------

    def signed_in(self, welcome: wire.Welcome, hello_at: float, address: str) -> None:
        """A coordinator opened or resumed a session. What is not in it any more is stopped."""
        state, resumed = self.state, welcome.resumed and welcome.session == self.state.session
        if not resumed:
            self._stop_everything("session")
            self.lease.ended()
        state.connected, state.coordinator, state.session = True, address, welcome.session
        state.coordinators, state.rejected, state.frozen = list(welcome.coordinators), None, False
        state.last_reply, state.paused = trio.current_time(), False
        self.frozen_since = None
        self.ledger.epoch = welcome.epoch
        self._compare(welcome.unnamed)
        self._crew.set_deadline(self.lease.signed_in(welcome.terms, hello_at))
        if welcome.stop:
            self._crew.cancel(self.ledger.still(welcome.stop), "session")
        if probe.armed is not None:
            probe.armed.note("hello", session=welcome.session, slots=self.slots)
        log.info("signed in at %s: session %d epoch %d", address, welcome.session, welcome.epoch)

    def _compare(self, unnamed: Sequence[Held]) -> None:
        """What was on its way here when this session was taken over can't arrive any more: its epoch is over.

        Asked before, this could not be told: it may have come while Hello was on its way, or waited in a database.
        """
        known = set(self.ledger.attempts())
        self._arrived = [one for one in unnamed if one in known]
        lost = [one for one in unnamed if one not in known]
        if lost:
            log.warning("%d assignments never arrived", len(lost))
            self.ledger.finish(undelivered(lost), trio.current_time())

    def to_tell_again(self) -> list[wire.WorkerMessage]:
        """What a coordinator that took the session over must hear first."""
        messages: list[wire.WorkerMessage] = [wire.Draining()] if self.draining else []
        messages += [wire.Accepted(one.lease_key, [one.task_id]) for one in self._arrived]
        if begun := self.ledger.begun():
            messages.append(wire.Started(begun))
        return messages + list(self.ledger.open_reports())

    # --- work ---------------------------------------------------------------------------------------

    def finished(self, outcomes: Outcomes) -> None:
        """Outcomes of attempts; kept until acknowledged."""
        if probe.armed is not None:
            probe.armed.touch("outcome.before_report")
        for report in self.ledger.finish(outcomes, trio.current_time()):
            self._tell(report)

    def started(self, attempts: Sequence[Held]) -> None:
        begun = self.ledger.begin(attempts)
        if begun:
            self._tell(wire.Started(begun))

    def assigned(self, assignment: Assignment) -> None:
        if probe.armed is not None:
            tasks = list(zip(assignment.ids, assignment.attempts, strict=True))
            probe.armed.note("assign_recv", key=assignment.lease_key.hex(), tasks=tasks)
            probe.armed.touch("assign.received")
        left = self.lease.left()
        if self.draining:
            self._hand_back(assignment, Outcome.RELEASED, "this worker is draining")
        elif left is None or left <= 0:
            self._hand_back(assignment, Outcome.REFUSED, "the lease of this worker is over")
        elif self.state.frozen:
            self._hand_back(assignment, Outcome.REFUSED, "the lease can't be renewed at present: nothing is started")
        elif self.ledger.is_full(self.slots, trio.current_time()):
            self._hand_back(assignment, Outcome.REFUSED, "too many outcomes of this worker are unacknowledged")
        else:
            self._take(assignment)

    def _take(self, assignment: Assignment) -> None:
        taken = self.ledger.take(assignment)
        if taken.refuse is not None:
            self._hand_back(taken.refuse, Outcome.REFUSED, taken.why)
        if assignment.epoch >= self.ledger.epoch:
            self._tell(
                wire.Accepted(assignment.lease_key, assignment.ids)
            )  # also of a repeat: the first may have been lost
        if taken.start is not None:
            self._crew.assign(taken.start)

    def _hand_back(self, assignment: Assignment, kind: Outcome, why: str) -> None:
        self.finished(unstarted(assignment, kind, why))

    def committed(self, message: wire.Committed) -> None:
        refused = self.ledger.settle(message)
        if refused:
            log.warning("%d late outcomes were refused: the tasks had gone to others", refused)
        self._settled.set()

    # --- the lease ----------------------------------------------------------------------------------

    def replied(self, reply: wire.HeartbeatReply) -> None:
        state, now = self.state, trio.current_time()
        state.last_reply, state.database_ok, state.database_age = now, reply.database_ok, reply.database_age
        state.database_seen = now - reply.database_age
        if reply.coordinators:
            state.coordinators = list(reply.coordinators)
        if state.frozen or not reply.database_ok:
            self.thawed_at = now
        state.frozen = reply.lease is wire.Lease.FROZEN
        match reply.lease:
            case wire.Lease.LOST if self.moving:
                self.lost_meanwhile = True  # perhaps because the other coordinator has it by now
            case wire.Lease.LOST:
                self.lose("the coordinator says that the session has ended", "session")
            case wire.Lease.FROZEN:
                if self.frozen_since is None:
                    self.frozen_since = now
                if self._frozen_limit is None or now - self.frozen_since <= self._frozen_limit:
                    self._crew.set_deadline(self.lease.confirmed(reply.sequence, firm=False))
            case wire.Lease.RENEWED:
                self.frozen_since = None
                self._crew.set_deadline(self.lease.confirmed(reply.confirmed))

    async def watch(self) -> None:
        """The lease's end is the end of its work, with or without a stream."""
        while True:
            left, firm = self.lease.left(), self.lease.firm_left()
            if left is not None and left <= 0:
                if probe.armed is not None:
                    probe.armed.note("deadline_stop")
                usable = self.lease.terms.lease - self.lease.terms.margin
                self.lose(f"the lease could not be renewed for {usable:g} s", "lease")
                left = None
            elif firm is not None and firm <= 0 and (ids := self.ledger.exclusive_ids()):
                self._crew.cancel(ids, "lease")  # FROZEN does not vouch for exclusive tasks
            times = [WATCH_EVERY, *(one for one in (left, firm) if one is not None and one > 0)]
            await trio.sleep(min(times))

    def lose(self, why: str, reason: str) -> None:
        """No session any more. Late outcomes are reported in the next one: refused, and kept as evidence."""
        if probe.armed is not None:
            probe.armed.note("session_lost", session=self.state.session)
        log.error("%s: everything that runs here is stopped", why)
        self._stop_everything(reason)
        self.state.session = 0
        self.lease.ended()
        self._crew.set_deadline(None)
        self._leave(why)

    def _stop_everything(self, reason: str) -> None:
        if self.ledger.running:
            self._crew.cancel(self.ledger.running_ids(), reason)

    def cancel(self, attempts: Sequence[Held], reason: str) -> None:
        self._crew.cancel(self.ledger.still(attempts), reason)

    async def flush(self, limit: float) -> bool:
        """Waits until every outcome is acknowledged, at most `limit` seconds; whether it is."""
        with trio.move_on_after(limit):
            while self.ledger.unacknowledged:
                self._settled = trio.Event()
                await self._settled.wait()
        return not self.ledger.unacknowledged
