"""The worker's streams to coordinators: signs in, beats, reports, and comes back when one is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from actors.model import link as wire
from actors.model.errors import LinkLost, LinkRejected
from actors.model.lease import LeaseTerms
from actors.model.worker import WorkerInfo
from actors.runtime import chance
from actors.runtime.periodic import boottime
from actors.runtime.supervisor import describe, leaves
from actors.worker.session import Executors, WorkerSession
from actors.worker.stream import Stream

log = logging.getLogger(__name__)

TREE_EVERY = 2.0  # seconds between reports of the supervision tree, when it changed
TREE_AGE = 15.0  # seconds after which it is reported though only time has passed
MAX_DELAY = 5.0  # seconds between attempts to connect


Dial = Callable[[str, LeaseTerms], AbstractAsyncContextManager[wire.WorkerEnd]]


class WorkerLink:
    """The actor that owns the stream; the session outlives it."""

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
        frozen_limit: float | None = None,
    ) -> None:
        self._worker, self._secret, self._token, self._dial = worker, secret, token, dial
        self._addresses, self._health, self._tree, self._on_drain = list(addresses), health, tree, on_drain
        self.session = WorkerSession(
            crew, terms, tell=self._tell, leave=self._leave, clock=clock, frozen_limit=frozen_limit
        )
        self.state, self.ledger, self.lease = self.session.state, self.session.ledger, self.session.lease
        # From the crew: outcomes are kept until acknowledged.
        self.finished, self.started = self.session.finished, self.session.started
        self._stream: Stream | None = None
        self._nursery: trio.Nursery | None = None
        self._turn = 0  # which of the known addresses is dialled next
        self._goodbye = False

    # --- from the crew ----------------------------------------------------------------------------

    def progressed(self, values: Sequence[tuple[int, int, str]]) -> None:
        self._tell(wire.Progress(list(values)))

    # --- the actor --------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Until signed out. A coordinator that is away is expected, and waited for."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            self._nursery.start_soon(self.session.watch)
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
        """Full jitter: a herd of workers whose coordinator went away comes back spread out.

        While the lease lives every round counts: what runs here is stopped at its end.
        """
        first, left = self.lease.terms.reconnect_delay, self.lease.left()
        soon = failures <= len(self._known()) or (left is not None and left > 0)
        ceiling = first if soon else min(MAX_DELAY, first * 2.0 ** min(failures - 1, 10))
        await trio.sleep(chance.uniform(0.1, 1.0) * ceiling)

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
                self.session.signed_in(welcome, hello_at, address)
                for message in self.session.to_tell_again():
                    stream.tell(message)
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
        self.session.slots = worker.slots
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
                if not wire.OLDEST <= answer.protocol <= wire.PROTOCOL:
                    reason = f"it wants to speak protocol {answer.protocol}; this worker speaks {wire.PROTOCOL}"
                    raise LinkRejected(f"{reason}: upgrade this worker", retry=True)
                return answer
            raise LinkLost(f"it answered Hello with {type(answer).__name__}")
        raise LinkLost("it did not answer Hello in time")

    async def _read(self, stream: Stream) -> None:
        async for message in stream.end.incoming:
            stream.heard_at = trio.current_time()
            match message:
                case wire.Assign(assignment=assignment):
                    self.session.assigned(assignment)
                case wire.Committed():
                    stream.answered(message.sequence)
                    self.session.committed(message)
                case wire.HeartbeatReply():
                    self.session.replied(message)
                case wire.Cancel(attempts=attempts, reason=reason):
                    self.session.cancel(attempts, reason)
                case wire.Drain(reason=reason):
                    self._on_drain(reason)
                case wire.Pause(paused=paused):
                    self.state.paused = paused
                case wire.Reject(reason=reason, retry=retry):
                    raise LinkRejected(reason, retry=retry)
                case wire.Unknown(detail=detail):
                    stream.tell(wire.Unsupported(detail))
                case wire.Unsupported(detail=detail):
                    log.warning("the coordinator does not support: %s", detail)
                case _:
                    self._tell(wire.Unsupported(f"{type(message).__name__} is not expected here"))

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
            due = trio.current_time() + self.lease.terms.heartbeat * chance.uniform(0.9, 1.1)
            await trio.sleep_until(due)
            lag = max(0.0, trio.current_time() - due)

    async def _watch(self, stream: Stream) -> None:
        """Drops a stream that is silent, is not read, or passes heartbeats but never answers outcomes."""
        terms = self.lease.terms
        while True:
            await trio.sleep(terms.silence / 6)
            thawed_at = trio.current_time() if self.state.frozen else self.session.thawed_at
            trouble = stream.trouble(terms.silence, terms.unanswered, thawed_at)
            if trouble is not None:
                self._turn += 1
                raise LinkLost(trouble)

    async def _seek(self, stream: Stream) -> None:
        """While this coordinator is frozen, the others are asked; this one is kept until another renews."""
        limit = self.lease.terms.silence
        while True:
            await trio.sleep(limit / 2)
            since = self.session.frozen_since
            if since is None or trio.current_time() - since < limit / 2:
                continue
            for place, address in enumerate(self._known()):
                if address != stream.address and await self._move(address):
                    self._turn = place
                    return

    async def _move(self, address: str) -> bool:
        assert self._nursery is not None
        moved = False
        session = self.session
        session.moving, session.lost_meanwhile = True, False
        try:
            await self._nursery.start(self._serve, address)
            moved = True
        except* (LinkLost, LinkRejected) as group:
            log.info("%s does not take the session over either: %s", address, describe(group))
        finally:
            session.moving = False
        if not moved and session.lost_meanwhile:
            session.lose("the coordinator says that the session has ended", "session")
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

    def _leave(self, why: str) -> None:
        if self._stream is not None:
            self._stream.scope.cancel(why)

    def _tell(self, message: wire.WorkerMessage) -> None:
        """Never waits. Without a stream nothing is told: what matters is told again on the next one."""
        if self._stream is not None:
            self._stream.tell(message)

    @property
    def draining(self) -> bool:
        return self.session.draining

    # --- leaving ------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Nothing more is taken; what runs goes on."""
        if not self.draining:
            self.session.draining = True
            self._tell(wire.Draining())

    async def flush(self, limit: float) -> bool:
        """Waits until every outcome is acknowledged, at most `limit` seconds; whether it is."""
        return await self.session.flush(limit)

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
