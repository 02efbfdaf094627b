"""Claims due tasks for free slots and hands them out in turn."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from actors.coordinator.faulty import Faults
from actors.coordinator.membership import Link, Membership
from actors.coordinator.rules import CLAIM, LEAD, PATIENCE, ceiling, round_robin, serves, worth_claiming
from actors.model.columns import Assignment
from actors.model.errors import StorageError, StorageRefused, StorageTimeout, StorageUnavailable, WritesRefused
from actors.model.lane import Lane
from actors.model.lease import LeaseTerms
from actors.model.ports import Claimed, ClaimOffer, DispatchStore, Posted
from actors.runtime import chance, probe
from actors.runtime.supervisor import describe

log = logging.getLogger(__name__)

LANES_AGE = 5.0  # seconds after which lanes are read again though nothing hinted at a new one
NEW_LANES_AGE = 0.2  # seconds, when something hinted and nothing was found: its lane may be new
REFUSED_PAUSE = 1.0  # seconds between looks whether a database that is full or read-only takes writes again
FAULT_PAUSE = 0.2  # seconds after a claim that failed for no reason of the database's
MOST_ARGS = 1_000_000  # bytes: what fits into a message
GATHER = 0.005  # seconds: with a backlog, how long a small claim waits to become a larger one


@dataclass(frozen=True, slots=True)
class Loan:
    """Room on these links that a submission may fill by itself."""

    offer: ClaimOffer
    links: Sequence[Link]


class Dispatcher:
    """One claim at a time; completions run beside it on connections of their own."""

    def __init__(
        self,
        store: DispatchStore,
        membership: Membership,
        hints: trio.MemoryReceiveChannel[None],
        terms: LeaseTerms,
    ) -> None:
        self._store, self._membership, self._hints, self._terms = store, membership, hints, terms
        self._lanes: list[Lane] = []
        self._lanes_read = -1e9
        self._lanes_version = 0
        self._special: set[int] = set()  # lanes that the usual claim leaves alone
        self._reserved: set[int] = set()  # sessions that get nothing else until a heavy task fits
        self._more_limited = False  # the last claim under limits would have found more with more room
        self._groups: list[tuple[list[Link], list[int]]] = []
        self._grouped: tuple[int, int] = (-1, -1)
        self._hinted = True  # something may have become due since the last look
        self._told = False  # by somebody, not by the poll
        self._doubtful = False  # told, and nothing was found: its lane may be a new one
        self._backlog = False  # more is due than there was room for
        self._again_at = float("inf")  # trio time at which time alone lets more start
        self._held_back = False  # turns wait for a worker that is full for a moment
        self._looked_at = -1e9  # trio time of the last look: whatever wakes it meanwhile, a poll is never put off
        self.claiming: set[bytes] = set()  # keys of claims whose answers are awaited
        self._faults = Faults()
        self.paused = False  # the coordinator stops: claim nothing more

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_hints_on)
            while True:
                try:
                    more = await self.run_once()
                except StorageError as error:
                    log.warning("dispatch waits for the database: %s", error)
                    self._hinted = True  # it may hold anything by now
                    await trio.sleep(REFUSED_PAUSE if isinstance(error, WritesRefused) else 0.2)
                    continue
                if not more:
                    await self._wait()

    async def _pass_hints_on(self) -> None:
        async for _ in self._hints:
            self._hinted = self._told = True
            self._membership.wake()

    async def _wait(self) -> None:
        """Until room or work is hinted at, at most one poll period."""
        due = self._looked_at + self._terms.poll - trio.current_time()
        longest = PATIENCE / 4 if self._held_back else NEW_LANES_AGE if self._doubtful else max(0.0, due)
        again = max(0.0, self._again_at - trio.current_time())
        with trio.move_on_after(min(longest, again)) as poll:
            await self._membership.room.receive()
            if self._backlog and not worth_claiming(*self._free()):
                await trio.sleep(GATHER)
        if poll.cancelled_caught:
            self._hinted = True

    def _free(self) -> tuple[int, int]:
        """Room and capacity of all workers."""
        now = trio.current_time()
        links = list(self._membership)
        return sum(link.room(now, self._suspect_after) for link in links), sum(link.capacity(now) for link in links)

    @property
    def _suspect_after(self) -> float:
        return 1.5 * self._terms.heartbeat

    def _room(self, link: Link, now: float) -> int:
        return 0 if link.session.id in self._reserved else link.room(now, self._suspect_after)

    async def run_once(self) -> bool:
        """One claim for each group of equal workers that has room; whether it is worth going on at once."""
        if trio.current_time() >= self._looked_at + self._terms.poll:
            self._hinted = True
            self._looked_at = trio.current_time()  # also when there is nobody to look for
        if self.paused or not len(self._membership) or not (self._hinted or self._backlog or self._doubtful):
            return False
        self._looked_at = trio.current_time()
        if await self._refresh_lanes(NEW_LANES_AGE if self._doubtful else LANES_AGE):
            self._doubtful = False
        told, self._told, self._hinted, self._held_back = self._told, False, False, False
        self._again_at = float("inf")
        claimed, more, full = 0, False, False
        self._reserved = set()
        for links, lanes in self._groups:
            now = trio.current_time()
            room = [link.room(now, self._suspect_after) for link in links]
            if not lanes or not any(room):
                full = full or bool(lanes)
                continue
            turns = self._turns(links, room, now)
            if turns and not self._special.isdisjoint(lanes):
                limited = await self._claim_limited(links, lanes, turns)
                claimed, more = claimed + limited, more or self._more_limited
                room = [self._room(link, now) for link in links]
                full = full or bool(self._reserved)
                turns = self._turns(links, room, now) if any(room) else []
            got, seen = await self._claim_somehow(links, lanes, turns) if turns else (0, 0)
            claimed += got
            if seen >= len(turns):  # more may be due
                more = True
                self._held_back = self._held_back or len(turns) < min(CLAIM, sum(room))
        self._backlog = more or full
        self._doubtful = not claimed and not self._backlog and (told or self._doubtful)
        read_again = self._doubtful and trio.current_time() - self._lanes_read > NEW_LANES_AGE
        return (more and not self._held_back) or self._hinted or read_again

    def _turns(self, links: Sequence[Link], room: Sequence[int], now: float) -> list[int]:
        """Whose turn it is, for as many tasks as one claim takes."""
        most = max(link.given for link in links)
        owed = CLAIM if self._backlog else LEAD - 1  # one that was full for long doesn't get everything at first
        for link in links:
            link.given = max(link.given, most - owed)
            if link.given > most - LEAD:
                link.behind_since = None
            elif link.behind_since is None:
                link.behind_since = now
        given = [link.given for link in links]
        full_at = [count + free for count, free in zip(given, room, strict=True)]
        limit = ceiling(full_at, [self._behind_for(link, now) for link in links])
        return round_robin(given, room, min(CLAIM, sum(room)), limit)

    def _behind_for(self, link: Link, now: float) -> float | None:
        if not link.may_get_work(now, self._suspect_after):
            return None
        return 0.0 if link.behind_since is None else now - link.behind_since

    async def _claim_limited(self, links: Sequence[Link], lanes: Sequence[int], turns: Sequence[int]) -> int:
        """What may start of queues with limits, before the rest; how many."""
        sessions = [(link.session.id, link.session.epoch) for link in links]
        rooms = [(max(0, link.worker.slots - link.held), link.worker.slots) for link in links]
        terms, key = self._terms, chance.key()
        self._more_limited = False
        self.claiming.add(key)
        try:
            found = await self._store.claim_limited(
                ClaimOffer(key, lanes, sessions, turns, terms.ack_window, terms.claim_margin, rooms)
            )
            self._reserved |= {found.reserved} if found.reserved is not None else set()
            self._more_limited = found.more
            if found.again is not None:
                self._again_at = min(self._again_at, trio.current_time() + found.again)
            return self._hand_out(links, found.shares)
        except StorageTimeout:
            self._hinted = True
            return self._hand_out(links, await self._store.claimed(key, sessions))
        except (StorageUnavailable, StorageRefused):
            raise
        except Exception as error:
            log.error("a claim under limits failed: %s", describe(error), exc_info=error)
            self._again_at = trio.current_time() + FAULT_PAUSE
            return 0
        finally:
            self.claiming.discard(key)

    async def _claim_somehow(
        self, links: Sequence[Link], lanes: Sequence[int], turns: Sequence[int]
    ) -> tuple[int, int]:
        """As `_claim`, past a task at which every claim fails."""
        if self._faults.searching(trio.current_time()):
            return await self._search(links, lanes, turns[:1])
        try:
            return await self._claim(links, lanes, turns, chance.key())
        except (StorageUnavailable, StorageRefused):
            raise
        except Exception as error:
            log.error("a claim failed: %s", describe(error), exc_info=error)
            self._faults.failed(trio.current_time())
            self._hinted = True  # nothing goes by express meanwhile
            await trio.sleep(FAULT_PAUSE)
            return 0, 0

    async def _search(self, links: Sequence[Link], lanes: Sequence[int], turn: Sequence[int]) -> tuple[int, int]:
        """One task of each lane; the one that fails alone is set aside. Raises what failed when too many were."""
        for lane in lanes:
            key = chance.key()
            try:
                got, _ = await self._claim(links, [lane], turn, key)
            except (StorageUnavailable, StorageRefused):
                raise
            except Exception as error:
                if not self._faults.may_set_aside(trio.current_time()):
                    raise
                why = f"every claim of this task failed: {describe(error)}"
                task = await self._store.set_aside(lane, key, [link.session.id for link in links], why)
                log.critical("task %s is set aside: %s", task, why, exc_info=error)
                self._faults.found(trio.current_time())
                self._hinted = True
                return 0, 0
            if got:  # its turn is taken
                self._hinted = True
                return got, 0
        return 0, 0

    async def _claim(
        self, links: Sequence[Link], lanes: Sequence[int], turns: Sequence[int], key: bytes
    ) -> tuple[int, int]:
        """Claims for one group; how many were assigned, and how many were seen to be due."""
        sessions = [(link.session.id, link.session.epoch) for link in links]
        self.claiming.add(key)
        try:
            if probe.armed is not None:
                await probe.armed.reach("claim.before")
            shares, seen = await self._ask(key, lanes, sessions, turns)
            if probe.armed is not None:
                await probe.armed.reach("claim.after_commit")
            return self._hand_out(links, shares), seen
        finally:
            self.claiming.discard(key)

    async def _ask(
        self, key: bytes, lanes: Sequence[int], sessions: Sequence[tuple[int, int]], turns: Sequence[int]
    ) -> tuple[list[Claimed], int]:
        try:
            return await self._store.claim(
                lease_key=key,
                lanes=lanes,
                sessions=sessions,
                slots=turns,
                ack_window=self._terms.ack_window,
                claim_margin=self._terms.claim_margin,
            )
        except StorageTimeout:
            self._hinted = True
            return await self._store.claimed(key, sessions), 0

    # --- submissions that carry a claim along -------------------------------------------------------

    def lend(self, names: Collection[str], count: int) -> Loan | None:
        """Room for so many tasks of these names, held until `settle`; None while anything else may be due first."""
        if (
            self.paused
            or self._hinted
            or self._backlog
            or self._held_back
            or self._reserved
            or self._faults.searching(trio.current_time())
        ):
            return None
        if self._grouped != (self._membership.version, self._lanes_version):
            return None  # somebody has come or gone: what goes to one who has waits for his grace
        if any(lane.special and lane.name in names for lane in self._lanes):
            return None
        now = trio.current_time()
        for links, served in self._groups:
            lanes = [lane.id for lane in self._lanes if lane.name in names and lane.id in served]
            room = [link.room(now, self._suspect_after) for link in links]
            if not lanes or not all(name in links[0].handlers for name in names) or sum(room) < count:
                continue
            turns = self._turns(links, room, now)[:count]
            if len(turns) < count:
                return None
            for turn in turns:
                links[turn].held += 1
            sessions = [(link.session.id, link.session.epoch) for link in links]
            terms = self._terms
            offer = ClaimOffer(chance.key(), lanes, sessions, turns, terms.ack_window, terms.claim_margin)
            self.claiming.add(offer.lease_key)
            return Loan(offer, links)
        return None

    def settle(self, loan: Loan, posted: Posted | None) -> None:
        """Hands out what was claimed; None: nothing that is known of."""
        for turn in loan.offer.slots:
            loan.links[turn].held -= 1
        self.claiming.discard(loan.offer.lease_key)
        if posted is not None:
            try:
                self._hand_out(loan.links, posted.shares)
            except ValueError as error:  # they come back when nobody acknowledges them, and are met by a claim
                log.error("what a submission carried along can't be handed out: %s", error)
        got = 0 if posted is None else sum(len(share.assignment) for share in posted.shares)
        if posted is None or posted.seen >= len(loan.offer.slots) or got < len(loan.offer.slots):
            self._hinted = True  # more may be due than was lent for
            self._membership.wake()

    def _hand_out(self, links: Sequence[Link], shares: Sequence[Claimed]) -> int:
        now, count = trio.current_time(), 0
        for share in shares:
            if max(share.assignment.sizes, default=0) > MOST_ARGS:
                raise ValueError(f"arguments of more than {MOST_ARGS} bytes can't travel: the row was changed by hand")
        for share in shares:
            if probe.armed is not None:
                _tell_probe(share.assignment)
            links[share.slot].assign(share.assignment, now)
            count += len(share.assignment)
        return count

    async def _refresh_lanes(self, older_than: float) -> bool:
        """Reads the lanes when they are old, and groups the workers by what they serve; whether it has read."""
        old = trio.current_time() - self._lanes_read > older_than
        if old:
            lanes = await self._store.lanes()
            self._lanes_read = trio.current_time()
            if lanes != self._lanes:
                self._lanes, self._special = lanes, {lane.id for lane in lanes if lane.special}
                self._lanes_version += 1
        wanted = (self._membership.version, self._lanes_version)
        if wanted != self._grouped:
            self._groups, self._grouped = group(list(self._membership), self._lanes), wanted
        elif len(self._groups) > 1:
            self._groups.append(self._groups.pop(0))  # each group is first in its turn
        return old

    def forget_lanes(self) -> None:
        """A worker declared handlers: what a lane means may have changed."""
        self._lanes_read = -1e9
        self._hinted = True
        self._membership.wake()


def _tell_probe(assignment: Assignment) -> None:
    assert probe.armed is not None
    tasks = list(zip(assignment.ids, assignment.attempts, strict=True))
    probe.armed.note("claim", key=assignment.lease_key.hex(), tasks=tasks)
    probe.armed.touch("assign.before_send")


def group(links: Sequence[Link], lanes: Sequence[Lane]) -> list[tuple[list[Link], list[int]]]:
    """Workers that serve the same lanes, together: one claim serves all of a group."""
    groups: dict[tuple[int, ...], list[Link]] = {}
    for link in links:
        served = tuple(lane.id for lane in lanes if serves(link.worker, link.handlers, lane))
        groups.setdefault(served, []).append(link)
    return [(members, list(served)) for served, members in groups.items()]
