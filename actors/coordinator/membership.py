"""The workers that are connected to this coordinator, and what each of them holds."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import trio

from actors.coordinator.failing import ERRORS, SUCCESSES, Failures
from actors.coordinator.rules import RateMeter, prefetch
from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.link import Assign, CoordinatorMessage
from actors.model.worker import Held, Session, WorkerInfo
from actors.runtime.tree import heard

log = logging.getLogger(__name__)

SMALL_TALK = 64  # messages besides those about tasks that may wait for a worker that does not read
UNANSWERED = 3  # times that assignments came back unacknowledged, one after the other, before a worker is set aside
ASIDE = 30.0  # seconds that it gets no work then


@dataclass(slots=True)
class Claim:
    """What one worker got of one claim and has not finished."""

    key: bytes
    since: float
    open: dict[int, int]  # task → attempt
    accepted: set[int] = field(default_factory=set)  # a claim may arrive in parts
    noted: bool = False  # acceptance of all is in the table, or needs no row
    names: dict[int, str] = field(default_factory=dict)  # task → handler; not of those that were resumed
    heavy: dict[int, int] = field(default_factory=dict)  # task → slots that it takes beside the first one

    def add(self, assignment: Assignment) -> None:
        if len(assignment.names) == 1:
            self.names.update(dict.fromkeys(assignment.ids, assignment.names[0]))
        else:
            names = map(assignment.names.__getitem__, assignment.name_index)
            self.names.update(zip(assignment.ids, names, strict=True))
        for task, weight in zip(assignment.ids, assignment.weights, strict=False):
            self.weigh(task, weight)

    def weigh(self, task: int, weight: int) -> None:
        if weight > 1:
            self.heavy[task] = weight - 1

    def lighten(self) -> int:
        """Slots, beside the first ones, of heavy tasks that are no longer open."""
        return sum(self.heavy.pop(task) for task in [one for one in self.heavy if one not in self.open])


@dataclass(slots=True)
class Link:
    """One connected worker. Its link actor writes it; dispatcher and session keeper read and assign."""

    session: Session
    worker: WorkerInfo
    outgoing: trio.MemorySendChannel[CoordinatorMessage]
    scope: trio.CancelScope
    peer: str
    handlers: frozenset[str]
    connected_at: float
    heard_at: float  # any message
    beat_at: float  # the newest heartbeat
    sequence: int = 0
    confirmed: int = 0
    claims: dict[bytes, Claim] = field(default_factory=dict)
    held: int = 0
    given: int = 0  # since the set of links last changed
    behind_since: float | None = None  # LEAD or more assignments behind the first
    rate: RateMeter = field(default_factory=RateMeter)
    paused: bool = False
    draining: bool = False
    lost: bool = False
    frozen: bool = False  # as it was last told: it would refuse whatever it got
    health: dict[str, Any] = field(default_factory=dict)
    running: int = 0
    to_start: list[Held] = field(default_factory=list)  # Started and not yet in the table
    cancelled: set[Held] = field(default_factory=set)  # told on this stream: what a lost one carried is told again
    progress: dict[tuple[int, int], str] = field(default_factory=dict)
    tree: dict[str, Any] | None = None  # of its actors
    tree_at: float = 0.0  # when it was heard
    compared_at: float = 0.0  # with the table
    benched_until: float = -1e9  # it gets no work before
    benched_for: str = ""
    unanswered: int = 0  # times that it left assignments unacknowledged, since it last said anything of any
    unsent: deque[CoordinatorMessage] = field(default_factory=deque)  # at most `outbound`
    moved_at: float = 0.0  # when it last took something of `unsent`
    to_send: trio.Event = field(default_factory=trio.Event)

    @property
    def outbound(self) -> int:
        """Messages that may wait for the stream."""
        return 2 * self.worker.slots + SMALL_TALK

    def may_get_work(self, now: float, suspect_after: float) -> bool:
        """Not while paused, draining, frozen, benched, behind in reading or late with its heartbeat."""
        if self.paused or self.draining or self.lost or self.frozen or self.unsent or now < self.benched_until:
            return False
        return now - self.beat_at <= suspect_after

    def shown_health(self, now: float) -> dict[str, Any]:
        """What the worker says of itself, and what is known of it here."""
        if now >= self.benched_until:
            return self.health
        return {**self.health, "failing": f"{self.benched_for}: no work for another {self.benched_until - now:.0f} s"}

    def hear_tree(self, tree: str) -> None:
        """What the worker says of its actors; it is told again when more than time has changed. Raises ValueError."""
        self.tree, self.tree_at = heard(tree), trio.current_time()

    def bench(self, until: float, why: str) -> None:
        """It gets no work before this time."""
        self.benched_until, self.benched_for = until, why
        log.error("worker %s gets no work for a while: %s", self.worker.id, why)

    def left_unanswered(self, now: float) -> None:
        """Assignments came back because it did not acknowledge them; after the third time it is tried rarely."""
        self.unanswered += 1
        if self.unanswered >= UNANSWERED and now >= self.benched_until:
            self.bench(now + ASIDE, "it takes assignments and says nothing of them")

    def capacity(self, now: float) -> int:
        """Tasks it may hold: its slots, and a prefetch while they turn over quickly and none of them is heavy."""
        ahead = 0 if self.has_heavy else prefetch(self.rate.rate(now), self.worker.slots)
        return self.worker.slots + ahead

    @property
    def has_heavy(self) -> bool:
        return any(claim.heavy for claim in self.claims.values())

    def room(self, now: float, suspect_after: float) -> int:
        """Tasks it may get now."""
        return max(0, self.capacity(now) - self.held) if self.may_get_work(now, suspect_after) else 0

    def assign(self, assignment: Assignment, now: float) -> None:
        """Books and sends it. A link that can't take it is dropped: the table gives the tasks to others."""
        assignment.epoch = self.session.epoch
        fresh = dict(zip(assignment.ids, assignment.attempts, strict=True))
        claim = self.claims.get(assignment.lease_key)
        if claim is None:
            claim = self.claims[assignment.lease_key] = Claim(assignment.lease_key, now, fresh)
        else:
            claim.open.update(fresh)
        claim.add(assignment)
        self.held += len(fresh) + sum(claim.heavy.get(task, 0) for task in fresh)
        self.given += len(fresh)
        self.tell(Assign(assignment))

    def tell(self, message: CoordinatorMessage) -> None:
        """Never waits: a worker that does not read its stream must not hold up the others."""
        if not self.unsent:
            try:
                self.outgoing.send_nowait(message)
                return
            except trio.WouldBlock:
                self.moved_at = trio.current_time()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.scope.cancel(f"the stream of worker {self.worker.id} has ended")
                return
        if len(self.unsent) >= self.outbound:
            self.scope.cancel(f"worker {self.worker.id} does not read its stream")
            return
        self.unsent.append(message)
        self.to_send.set()

    async def send(self) -> None:
        """Sends what waits, in order, until cancelled."""
        while True:
            await self.to_send.wait()
            self.to_send = trio.Event()
            while self.unsent:
                try:
                    await self.outgoing.send(self.unsent[0])
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self.scope.cancel(f"the stream of worker {self.worker.id} has ended")
                    return
                self.unsent.popleft()
                self.moved_at = trio.current_time()

    def tally(self, outcomes: Outcomes) -> dict[str, tuple[int, int]]:
        """Handler → how many went well and how many failed, of what is on the books."""
        good, bad = Counter[str](), Counter[str]()
        names = [self.claims[key].names if key in self.claims else {} for key in outcomes.keys]
        if len(names) == 1 and not any(outcomes.kinds):  # all went well: the usual report
            found = Counter(map(names[0].get, outcomes.ids))
            return {name: (count, 0) for name, count in found.items() if name is not None}
        for which, task, kind in zip(outcomes.key_index, outcomes.ids, outcomes.kinds, strict=True):
            if (name := names[which].get(task)) is not None:
                if kind in SUCCESSES:
                    good[name] += 1
                elif kind in ERRORS:
                    bad[name] += 1
        return {name: (good[name], bad[name]) for name in {*good, *bad}}

    def finished(self, outcomes: Outcomes, now: float) -> int:
        """Takes outcomes off the books; how many were on them."""
        claims, done = self.claims, 0
        opened = [claims[key].open if key in claims else {} for key in outcomes.keys]
        for which, task in zip(outcomes.key_index, outcomes.ids, strict=True):
            if opened[which].pop(task, None) is not None:
                done += 1
        for key in outcomes.keys:
            if key in claims and claims[key].heavy:
                self.held -= claims[key].lighten()
        for key in outcomes.keys:
            if key in claims and not claims[key].open:
                del claims[key]
        self.held -= done
        # What came back unharmed says nothing of how fast the slots turn over.
        self.rate.add(now, done - outcomes.kinds.count(Outcome.RELEASED) - outcomes.kinds.count(Outcome.REFUSED))
        return done

    def forget(self, attempts: Iterable[Held]) -> None:
        """The table took these back: they no longer fill slots here."""
        for one in attempts:
            claim = self.claims.get(one.lease_key)
            if claim is not None and claim.open.get(one.task_id) == one.attempt:
                del claim.open[one.task_id]
                self.held -= 1 + claim.lighten()
                if not claim.open:
                    del self.claims[one.lease_key]

    def adopt(self, held: Iterable[Held], known: Container[Held], now: float) -> None:
        """Books what the table says that a resumed session holds; it accepts the rest of what it knows by itself."""
        for one in held:
            claim = self.claims.setdefault(one.lease_key, Claim(one.lease_key, now, {}))
            if one in known:
                claim.accepted.add(one.task_id)
            if one.task_id not in claim.open:
                claim.open[one.task_id] = one.attempt
                claim.weigh(one.task_id, one.weight)
                self.held += 1 + claim.heavy.get(one.task_id, 0)

    def is_open(self, one: Held) -> bool:
        """Whether it was sent on this stream, or resumed with it, and has not been reported."""
        claim = self.claims.get(one.lease_key)
        return claim is not None and one.task_id in claim.open

    def has_accepted(self, one: Held) -> bool:
        """Whether the worker acknowledged it on this stream, or nothing of it is known here."""
        claim = self.claims.get(one.lease_key)
        return claim is None or one.task_id not in claim.open or one.task_id in claim.accepted

    def open_before(self, when: float) -> list[Held]:
        """What it was given before this time and has not reported."""
        old = [claim for claim in self.claims.values() if claim.since <= when]
        return [Held(task, attempt, claim.key) for claim in old for task, attempt in claim.open.items()]

    def acceptances(self, now: float, older_than: float) -> list[Held]:
        """Accepted, unfinished for a while, and not yet noted in the table."""
        found: list[Held] = []
        for claim in self.claims.values():
            if claim.accepted and not claim.noted and now - claim.since >= older_than:
                found += [
                    Held(task, attempt, claim.key) for task, attempt in claim.open.items() if task in claim.accepted
                ]
        return found

    def accepted_whole(self, now: float, older_than: float) -> list[Claim]:
        """Claims of which `acceptances` left nothing out: once these are noted, all of the claim is."""
        return [
            claim
            for claim in self.claims.values()
            if now - claim.since >= older_than and claim.accepted >= claim.open.keys()
        ]


class Membership:
    """All links of this coordinator; wakes the dispatcher when room appears."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self.failures = Failures()
        self.version = 0  # changes with the set of links or what they serve
        self.room_send, self.room = trio.open_memory_channel[None](1)

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def __len__(self) -> int:
        return len(self._links)

    def get(self, session: int) -> Link | None:
        return self._links.get(session)

    def add(self, link: Link) -> None:
        former = self._links.get(link.session.id)
        if former is not None:
            former.scope.cancel("the worker opened another stream")
        self._links[link.session.id] = link
        self._changed()

    def remove(self, link: Link) -> None:
        if self._links.get(link.session.id) is link:
            del self._links[link.session.id]
            self._changed()

    def _changed(self) -> None:
        self.version += 1
        for link in self._links.values():
            link.given, link.behind_since = 0, None
        self.wake()

    def wake(self) -> None:
        """There may be room, or something else to assign."""
        try:
            self.room_send.send_nowait(None)
        except trio.WouldBlock:
            pass  # one waits already: they coalesce
