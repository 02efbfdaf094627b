"""One worker's connection: signs the worker in, reads its messages, and signs it out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import trio

from actors.coordinator.completer import Completer
from actors.coordinator.failing import WHY
from actors.coordinator.hello import Pace, refusal
from actors.coordinator.membership import Link, Membership
from actors.model import link as wire
from actors.model.columns import Outcomes
from actors.model.errors import StorageError
from actors.model.lease import LeaseTerms
from actors.model.ports import DispatchStore
from actors.model.worker import Held, Session, WorkerInfo
from actors.runtime import probe

log = logging.getLogger(__name__)

HELLO_LIMIT = 5.0  # seconds from the stream's opening to Hello
MAX_LINKS = 10_000  # workers of one coordinator
STUCK_LIMIT = 5.0  # seconds that a stream may take nothing of what waits for it


@dataclass(frozen=True, slots=True)
class Desk:
    """What a link needs of the coordinator."""

    coordinator_id: str
    store: DispatchStore
    membership: Membership
    completer: Completer
    terms: LeaseTerms
    token: str | None
    reply: Callable[[Link, int], wire.HeartbeatReply]  # to a heartbeat
    coordinators: Callable[[], Sequence[str]]
    declared: Callable[[], None]  # handlers were declared
    left: Callable[[Link, bool], None]  # the stream ended without a goodbye; whether a grace applies


class Refused(Exception):
    """The worker can't sign in; the message says what to do."""

    def __init__(self, reason: str, *, retry: bool) -> None:
        super().__init__(reason)
        self.reason, self.retry = reason, retry


class LinkActor:
    """Serves one stream. An error here ends this link and nothing else."""

    def __init__(self, desk: Desk, end: wire.CoordinatorEnd) -> None:
        self._desk, self._end = desk, end
        self._goodbye: wire.Goodbye | None = None
        self._silent = self._warned = False
        self._early: wire.WorkerMessage | None = None  # said before Welcome
        self._pace = Pace(desk.terms.heartbeat)

    async def serve(self) -> None:
        try:
            link = await self._sign_in()
        except Refused as refusal:
            await self._say(wire.Reject(refusal.reason, refusal.retry))
            return
        if link is None:
            return
        desk = self._desk
        desk.membership.add(link)
        log.info("worker %s signed in: session %d epoch %d", link.worker.id, link.session.id, link.session.epoch)
        try:
            with link.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, link)
                    nursery.start_soon(link.send)
                    await self._read(link)
                    nursery.cancel_scope.cancel("the stream has ended")
        finally:
            desk.membership.remove(link)
            await self._sign_out(link)

    # --- signing in -----------------------------------------------------------------------------

    async def _sign_in(self) -> Link | None:
        hello: Any = None
        with trio.move_on_after(HELLO_LIMIT):
            try:
                hello = await self._end.incoming.receive()
            except trio.EndOfChannel:
                return None
        if not isinstance(hello, wire.Hello):
            raise Refused("the first message of a link must be Hello, within 5 s", retry=False)
        if (reason := refusal(hello, self._desk.token)) is not None:
            raise Refused(reason, retry=False)
        links = self._desk.membership
        if len(links) >= MAX_LINKS and links.get(hello.session) is None:
            raise Refused(f"this coordinator has {len(links)} workers: add another coordinator", retry=True)
        worker = self._with_peer_address(hello.worker)
        try:
            found = await self._unless_gone(hello, worker)
        except StorageError as error:
            log.warning("worker %s can't sign in: %s", worker.id, error)
            raise Refused("the coordinator's database does not answer; try again", retry=True) from None
        if found is None:
            return None
        session, resumed, held = found
        known = set(hello.running)
        self._desk.declared()
        if probe.armed is not None:
            await probe.armed.reach("sign_in.after_commit")
        now = trio.current_time()
        link = Link(
            session=session,
            worker=worker,
            outgoing=self._end.outgoing,
            scope=trio.CancelScope(),
            peer=self._end.peer,
            handlers=frozenset(handler.name for handler in worker.handlers),
            connected_at=now,
            heard_at=now,
            beat_at=now,
            benched_until=self._desk.membership.failures.benched_until(session.id),
            benched_for=WHY,
        )
        link.adopt(held, known, now)
        welcome = wire.Welcome(
            session=session.id,
            epoch=session.epoch,
            terms=self._desk.terms,
            coordinators=list(self._desk.coordinators()),
            stop=[one for one in hello.running if one not in held],
            resumed=resumed,
            protocol=wire.agreed(hello.protocol, hello.oldest_protocol) or wire.OLDEST,
            unnamed=[one for one in held if one not in known],
        )
        if await self._say(welcome):
            return link
        self._desk.left(link, True)  # the session is in the table
        return None

    async def _say(self, answer: wire.CoordinatorMessage) -> bool:
        """Whether the worker waits for it."""
        try:
            await self._end.outgoing.send(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.warning("the worker at %s did not wait for its answer", self._end.peer)
            return False
        return True

    async def _unless_gone(self, hello: wire.Hello, worker: WorkerInfo) -> tuple[Session, bool, set[Held]] | None:
        """The session, in the table; None when the worker left meanwhile.

        A resumption that nobody waits for any more would take the session from the coordinator that serves it.
        """
        found, trouble = None, None
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                self._early = await anext(self._end.incoming, None)
                if self._early is None:
                    nursery.cancel_scope.cancel("the worker has left")

            nursery.start_soon(leave)
            try:
                found = await self._session(hello, worker)
                await self._desk.store.declare(worker.handlers)
            except StorageError as error:
                trouble = error
            nursery.cancel_scope.cancel("it is known")
        if trouble is not None:
            raise trouble
        return found

    def _with_peer_address(self, worker: WorkerInfo) -> WorkerInfo:
        """A worker that listens on every address is reached where its link comes from."""
        address = worker.http_address
        if address and "://0.0.0.0:" in address:
            return replace(worker, http_address=address.replace("0.0.0.0", self._end.peer))
        return worker

    async def _session(self, hello: wire.Hello, worker: WorkerInfo) -> tuple[Session, bool, set[Held]]:
        store, lease = self._desk.store, self._desk.terms.lease
        secret_hash = hashlib.sha256(hello.secret).digest()
        here = self._desk.coordinator_id
        if hello.session:
            session = await store.resume_session(
                hello.session, worker=worker, secret_hash=secret_hash, coordinator_id=here, lease=lease
            )
            if session is not None:
                return session, True, set(await store.held_by(session.id))
        session = await store.open_session(worker, secret_hash=secret_hash, coordinator_id=here, lease=lease)
        return session, False, set()

    # --- while connected ------------------------------------------------------------------------

    async def _read(self, link: Link) -> None:
        message = self._early or await anext(self._end.incoming, None)
        while message is not None:
            link.heard_at = trio.current_time()
            match message:
                case wire.Report():
                    self._finished(link, message)
                case wire.Accepted(key=key, ids=ids):
                    link.unanswered = 0
                    if (claim := link.claims.get(key)) is not None:
                        claim.accepted.update(ids or claim.open)
                case wire.Heartbeat():
                    self._beat(link, message)
                case wire.Started(attempts=attempts):
                    link.to_start += attempts
                case wire.Progress(values=values):
                    link.progress.update({(task, attempt): value for task, attempt, value in values})
                case wire.Tree(json=tree):
                    try:
                        link.hear_tree(tree)
                    except ValueError as error:
                        link.tell(wire.Unsupported(f"a tree was not understood: {error}"))
                case wire.Draining():
                    link.draining = True
                    await self._quietly(self._desk.store.begin_drain(link.session.id, link.session.epoch))
                case wire.Goodbye():
                    self._goodbye = message
                    return
                case wire.Unknown(detail=detail):
                    link.tell(wire.Unsupported(detail))
                case wire.Unsupported(detail=detail):
                    self._unsupported(link, detail)
                case _:
                    link.tell(wire.Unsupported(f"{type(message).__name__} is not expected here"))
            message = await anext(self._end.incoming, None)

    def _unsupported(self, link: Link, detail: str) -> None:
        """Said once a stream: a worker must not fill the log."""
        if not self._warned:
            self._warned = True
            log.warning("worker %s does not support: %s", link.worker.id, detail[:200])

    def _finished(self, link: Link, report: wire.Report) -> None:
        if probe.armed is not None:
            probe.armed.touch("outcome.received")
        link.unanswered = 0
        self._judge(link, report.outcomes)
        link.finished(report.outcomes, link.heard_at)
        self._desk.membership.wake()
        try:
            self._desk.completer.take(link, report)
        except trio.WouldBlock:
            link.scope.cancel("too many outcomes wait for the database; the worker keeps them and comes again")

    def _judge(self, link: Link, outcomes: Outcomes) -> None:
        """A worker that fails what others can do gets no work for a while."""
        counts = link.tally(outcomes)
        until = self._desk.membership.failures.add(link.session.id, counts, link.heard_at) if counts else None
        if until is not None:
            link.bench(until, WHY)

    def _beat(self, link: Link, beat: wire.Heartbeat) -> None:
        if self._pace.too_fast(link.heard_at):
            log.error("worker %s sends heartbeats without end", link.worker.id)
            link.scope.cancel("too many heartbeats")
            return
        if beat.sequence <= link.sequence:
            return  # a number that does not rise is a repeat
        was_late = link.heard_at - link.beat_at > 1.5 * self._desk.terms.heartbeat
        link.sequence, link.beat_at, link.running = beat.sequence, link.heard_at, beat.running
        link.health = dict(beat.health)
        link.tell(self._desk.reply(link, beat.sequence))
        if was_late:
            self._desk.membership.wake()

    async def _watch(self, link: Link) -> None:
        """Each direction by itself: what it says, and whether it takes what it is told."""
        limit = self._desk.terms.silence
        while True:
            now = trio.current_time()
            left = link.heard_at + limit - now
            if left <= 0:
                self._silent = True
                link.scope.cancel(f"worker {link.worker.id} has been silent for {limit:g} s")
                return
            if link.unsent and now - link.moved_at >= STUCK_LIMIT:
                self._silent = True  # it may be alive, and run what it has: its lease decides
                log.warning("worker %s has not read its stream for %g s", link.worker.id, STUCK_LIMIT)
                link.scope.cancel("the worker does not read its stream")
                return
            await trio.sleep(min(left, STUCK_LIMIT / 5))

    # --- signing out ----------------------------------------------------------------------------

    async def _sign_out(self, link: Link) -> None:
        """A goodbye closes the session; silence leaves it to its lease; a closed socket gets the grace."""
        if self._goodbye is not None and not self._goodbye.moving:
            with trio.move_on_after(self._desk.terms.statement_limit, shield=True):
                await self._quietly(self._desk.store.close_session(link.session.id, link.session.epoch))
            log.info("worker %s signed out", link.worker.id)
        elif not link.lost:
            log.warning("worker %s is gone%s", link.worker.id, " (silent)" if self._silent else "")
            self._desk.left(link, not self._silent)

    async def _quietly(self, call: Any) -> None:
        """Absence of the database is not this link's crash: the lease and the sweep repair it."""
        try:
            await call
        except StorageError as error:
            log.warning("the session's change waits for its lease: %s", error)
