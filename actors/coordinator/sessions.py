"""Keeps the sessions: renews leases, carries out wishes, convicts and sweeps.

Its beat is the renewal period; the sweep rides on it. It is the only one here that judges anybody,
and it does so only after the quiet period.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio

from actors.coordinator.failover import Acknowledged
from actors.coordinator.membership import Link, Membership
from actors.coordinator.rules import QuietPeriod
from actors.model.errors import StorageError, WritesRefused
from actors.model.lease import LeaseTerms
from actors.model.link import Cancel, Drain, HeartbeatReply, Lease, Pause
from actors.model.ports import DispatchStore, Renewed
from actors.model.worker import Held
from actors.runtime import probe
from actors.runtime.tree import aged

log = logging.getLogger(__name__)

SWEEP = 500  # tasks a statement
COMPARE_EVERY = 10.0  # seconds between looks whether the table still says what the books of a link say
SIGN_IN_EVERY = 3.0  # seconds between a coordinator's own signs of life


class SessionKeeper:
    """Renewal, wishes, conviction, sweeping and the coordinator's own entry."""

    def __init__(
        self,
        coordinator_id: str,
        address: str,
        version: str,
        store: DispatchStore,
        membership: Membership,
        hints: trio.MemoryReceiveChannel[None],
        terms: LeaseTerms,
        claiming: Callable[[], Iterable[bytes]] = tuple,  # keys of claims whose answers are awaited
    ) -> None:
        self._id, self._address, self._version = coordinator_id, address, version
        self._store, self._membership, self._hints, self._terms = store, membership, hints, terms
        self._claiming = claiming
        self._quiet = QuietPeriod(terms.quiet_period, gap=max(2.0, 2 * terms.renewal))
        self._graces: dict[tuple[int, int], float] = {}  # (session, epoch) → when to convict
        # Not yet in the table; at most what all workers hold, and what those that left had held.
        self._accepted: list[Held] = []
        self._started: list[Held] = []
        self._last_answer = trio.current_time()
        self._ok = True
        self.acknowledged = Acknowledged()
        self.refusal: str | None = None  # why the database takes no writes
        self._signed_in = -1e9
        self._swept = -1e9
        self.coordinators: list[str] = [address]
        self._judging: bool | None = None

    @property
    def database_ok(self) -> bool:
        """Whether renewals are being committed; what FROZEN tells the workers."""
        return self._ok and self.database_age < 2 * self._terms.renewal + self._terms.statement_limit

    @property
    def database_age(self) -> float:
        return trio.current_time() - self._last_answer

    def reply(self, link: Link, sequence: int) -> HeartbeatReply:
        """The answer to a heartbeat, from what is known now; it never waits for the database."""
        lease = Lease.LOST if link.lost else Lease.RENEWED if self.database_ok else Lease.FROZEN
        link.frozen = lease is Lease.FROZEN
        return HeartbeatReply(
            sequence=sequence,
            lease=lease,
            confirmed=link.confirmed,
            coordinators=self.coordinators,
            database_ok=self.database_ok,
            database_age=self.database_age,
        )

    def left(self, link: Link, grace: bool) -> None:
        """A stream ended without a goodbye. A closed socket starts the grace; silence is left to the lease.

        What the worker had accepted is noted first: it may have run, and may be what killed the worker.
        """
        self._accepted += link.acceptances(trio.current_time(), 0.0)
        self._started += [one for one in link.to_start if link.is_open(one)]
        if grace:
            self._graces[(link.session.id, link.session.epoch)] = trio.current_time() + self._terms.grace

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            began = trio.current_time()
            try:
                await self.run_once()
            except StorageError as error:
                self._failed(error, began)
            rest = max(0.05, self._terms.renewal - (trio.current_time() - began))
            with trio.move_on_after(min(rest, self._until_grace())):
                await self._hints.receive()
                await trio.sleep(0.02)  # a burst of wishes is one round

    def _failed(self, error: StorageError, began: float) -> None:
        """A database that is full may still renew leases: then nobody is frozen for what else it refused."""
        self.refusal = str(error) if isinstance(error, WritesRefused) else None
        if self.refusal is not None and self._last_answer >= began:
            log.warning("leases are renewed, and the rest waits: %s", error)
            return
        if self._ok:
            log.warning("leases can't be renewed: %s", error)
        self._ok = False
        self._quiet.failed()

    def _until_grace(self) -> float:
        now = trio.current_time()
        return max(0.05, min((due - now for due in self._graces.values()), default=1e9))

    async def run_once(self) -> None:
        now = trio.current_time()
        if now - self._signed_in > SIGN_IN_EVERY:
            views = await self._store.sign_in(self._id, self._address, self._version, ttl=4 * SIGN_IN_EVERY)
            self.coordinators = [view.address for view in views if view.alive]
            self._signed_in = now
        await self._renew()
        await self._note(older_than=self._terms.renewal)
        await self._convict_after_grace()
        if now - self._swept >= self._terms.sweep * 0.9:
            self._swept = now
            await self._sweep()
            await self._compare()

    async def note_all(self) -> None:
        """What is accepted or started and not in the table yet, however young: the coordinator stops."""
        await self._note(older_than=0.0)

    async def _note(self, older_than: float) -> None:
        """T2 for what is accepted or started and still unfinished."""
        now = trio.current_time()
        for link in self._membership:
            begun, link.to_start = link.to_start, []
            self._started += [one for one in begun if link.is_open(one)]
        whole = [claim for link in self._membership for claim in link.accepted_whole(now, older_than)]
        accepted = [one for link in self._membership for one in link.acceptances(now, older_than)]
        if accepted or self._accepted or self._started:
            last, started = list(self._accepted), list(self._started)
            await self._store.mark(accepted + last, started)
            del self._accepted[: len(last)], self._started[: len(started)]
        for claim in whole:  # what was accepted while this was written is noted next time
            claim.noted = True
        progress: list[tuple[int, int, str]] = []
        for link in self._membership:
            progress += [(task, attempt, value) for (task, attempt), value in link.progress.items()]
            link.progress.clear()
        if progress:
            await self._store.save_progress(progress)

    async def _renew(self) -> None:
        asked_at = trio.current_time()
        links = [link for link in self._membership if asked_at - link.heard_at < self._terms.silence]
        sequences = {link.session.id: link.sequence for link in links}
        if probe.armed is not None:
            await probe.armed.reach("renew.before")
        renewed = await self._store.renew(
            self._id,
            [(link.session.id, link.session.epoch, asked_at - link.beat_at) for link in links],
            lease=self._terms.lease,
            health={link.session.id: link.shown_health(asked_at) for link in links},
        )
        if probe.armed is not None:
            await probe.armed.reach("renew.after_commit")
        now = trio.current_time()
        if not self._ok or now - self._last_answer > self._quiet.gap:  # nobody could sign in meanwhile
            graces = self._graces.items()
            self._graces = {identity: max(due, now + self._terms.grace) for identity, due in graces}
        self._last_answer, self._ok, self.refusal = now, True, None
        history = renewed.history
        server = (renewed.server_started, history and (history.system, history.timeline))
        self._quiet.answered(now, server, renewed.clock)
        if (why := self.acknowledged.seen(history, now, wrote=bool(renewed.sessions))) is not None:
            self._lost_commits(why)
            return
        for link in links:
            if link.session.id in renewed.sessions:
                link.confirmed = max(link.confirmed, sequences[link.session.id])
                if link.frozen:  # it hears of the thaw now, not at its next heartbeat
                    link.tell(self.reply(link, link.sequence))
                    self._membership.wake()
            elif link.session.id in renewed.moved:
                log.info("session %d of worker %s is served elsewhere", link.session.id, link.worker.id)
                link.scope.cancel("its session was taken over")  # if the worker is still here, it resumes
            else:
                self._lost(link)
        self._carry_out(renewed)

    def _lost_commits(self, why: str) -> None:
        """Sessions, and numbers given since, may be gone from the table or stand for others: all sign in anew."""
        log.error("%s: every worker signs in anew", why)
        for link in self._membership:
            self._lost(link)

    def _lost(self, link: Link) -> None:
        log.warning("session %d of worker %s has ended", link.session.id, link.worker.id)
        link.lost = True
        link.tell(self.reply(link, link.sequence))
        link.scope.cancel("the session has ended")

    def _carry_out(self, renewed: Renewed) -> None:
        wishes = renewed.wishes
        for link in self._membership:
            # A wish may be read before its assignment was sent: then it waits, or the worker would not know of what.
            wished = {one for one in wishes.cancels.get(link.session.id, ()) if link.is_open(one)}
            fresh, link.cancelled = wished - link.cancelled, wished
            if fresh:
                link.tell(Cancel(sorted(fresh, key=lambda one: one.task_id), "cancelled"))
            paused = link.session.id in wishes.paused
            if paused != link.paused:
                link.paused = paused
                link.tell(Pause(paused))
                self._membership.wake()
            if link.session.id in wishes.drain and not link.draining:
                link.draining = True
                link.tell(Drain("an operator asked this worker to drain"))

    async def _convict_after_grace(self) -> None:
        now = trio.current_time()
        due = [identity for identity, at in self._graces.items() if at <= now]
        if not due:
            return
        convicted = await self._store.convict(due, self._id, until=self._quiet.until(now))
        for identity in due:
            del self._graces[identity]
        if convicted:
            if probe.armed is not None:
                probe.armed.note("convict", sessions=convicted)
            log.warning("sessions %s did not come back within the grace", convicted)
            await self._sweep()

    async def _sweep(self) -> None:
        """One statement convicts and sweeps; what a clock decides only past the quiet period."""
        while True:
            now = trio.current_time()
            judging = self._quiet.may_convict(now)
            if probe.armed is not None and judging is not self._judging:
                probe.armed.note("quiet", on=not judging)
            self._judging = judging
            lease = self._terms.lease if judging else None
            until = self._quiet.until(now)
            linked = [link.session.id for link in self._membership]
            swept = await self._store.sweep(SWEEP, self._id, lease=lease, until=until, sent=self._sent(), linked=linked)
            if probe.armed is not None:
                await probe.armed.reach("sweep.after_commit")
                if swept.convicted:
                    probe.armed.note("convict", sessions=list(swept.convicted))
            if swept.convicted:
                log.warning("leases of sessions %s ran out", list(swept.convicted))
            if swept.count:
                log.info("%d tasks left their attempts", swept.count)
                self._membership.wake()
            for session, attempts in swept.taken.items():
                self._take_back(session, attempts)
            if swept.count < SWEEP and not swept.convicted:
                return

    def _sent(self) -> set[bytes]:
        """Claims that a worker linked here may have, or get, without a sign of it in the table."""
        unnoted = (claim.key for link in self._membership for claim in link.claims.values() if not claim.noted)
        return {*unnoted, *self._claiming()}

    def _take_back(self, session: int, attempts: Sequence[Held]) -> None:
        """A live worker lost these: nobody acknowledged them, or their time is over."""
        link = self._membership.get(session)
        if link is not None:
            if any(not link.has_accepted(one) for one in attempts):
                link.left_unanswered(trio.current_time())
            link.forget(attempts)
            link.tell(Cancel(attempts, "unacknowledged"))

    async def _compare(self) -> None:
        """An answer that was lost, of a sweep or to a report, must not cost a worker its room for good."""
        when = trio.current_time() - COMPARE_EVERY
        for link in self._membership:
            if link.compared_at > when or not (old := link.open_before(when)):
                continue
            link.compared_at = trio.current_time()
            held = set(await self._store.held_by(link.session.id))
            gone = [one for one in old if link.is_open(one) and one not in held]
            if gone:
                log.warning("%d attempts had been taken from worker %s unheard", len(gone), link.worker.id)
                self._take_back(link.session.id, gone)
                self._membership.wake()

    def trees(self) -> dict[str, Any]:
        """Supervision trees of the workers that are linked here."""
        now = trio.current_time()
        return {link.worker.id: aged(link.tree, now - link.tree_at) for link in self._membership if link.tree}
