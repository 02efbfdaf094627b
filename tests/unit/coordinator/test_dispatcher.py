"""Who gets what and when, in virtual time, over a store that hands out numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.coordinator.dispatcher import LANES_AGE, NEW_LANES_AGE, Dispatcher
from actors.coordinator.membership import Link, Membership
from actors.coordinator.rules import CLAIM, LEAD, PATIENCE
from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.errors import StorageTimeout, StorageUnavailable
from actors.model.lane import Lane
from actors.model.lease import DEFAULT
from actors.model.link import Assign
from actors.model.ports import Claimed
from actors.model.worker import Session, WorkerInfo

NOOP = Lane(1, "noop", "default", {})


class Numbers:
    """A store of so many due tasks."""

    def __init__(self) -> None:
        self.due = 0
        self.next = 1
        self.claims: list[int] = []
        self.known = [NOOP]
        self.lanes_read = 0
        self.faults: list[Exception] = []
        self.unknown: list[Claimed] = []

    async def lanes(self) -> list[Lane]:
        await trio.lowlevel.checkpoint()
        self.lanes_read += 1
        return list(self.known)

    async def claim(
        self, *, lease_key: bytes, sessions: Sequence[Any], slots: Sequence[int], **_: Any
    ) -> tuple[list[Claimed], int]:
        await trio.lowlevel.checkpoint()
        if self.faults:
            raise self.faults.pop()
        self.claims.append(len(slots))
        count = min(self.due, len(slots))
        self.due -= count
        shares: dict[int, list[int]] = {}
        for slot in slots[:count]:
            shares.setdefault(slot, []).append(self.next)
            self.next += 1
        return [Claimed(slot, tasks(ids, lease_key)) for slot, ids in shares.items()], count

    async def claimed(self, lease_key: bytes, sessions: Sequence[Any]) -> list[Claimed]:
        await trio.lowlevel.checkpoint()
        return self.unknown


def tasks(ids: list[int], key: bytes) -> Assignment:
    count = len(ids)
    return Assignment(
        key, ids, [1] * count, ["noop"], [0] * count, [0] * count, [0] * count, [2] * count, b"{}" * count
    )


class Worker:
    """The far end of one link."""

    def __init__(self, name: str, slots: int = 10) -> None:
        outgoing, self.incoming = trio.open_memory_channel[Any](1_000)
        now = trio.current_time()
        self.link = Link(
            session=Session(id=int(name), epoch=1, worker=name),
            worker=WorkerInfo(id=name, name=name, slots=slots),
            outgoing=outgoing,
            scope=trio.CancelScope(),
            peer="",
            handlers=frozenset({"noop"}),
            connected_at=now,
            heard_at=now,
            beat_at=now + 1e9,  # never late
        )

    def received(self) -> list[Assignment]:
        found: list[Assignment] = []
        while True:
            try:
                message = self.incoming.receive_nowait()
            except trio.WouldBlock:
                return found
            assert isinstance(message, Assign)
            found.append(message.assignment)

    def keep(self, assignments: list[Assignment]) -> None:
        """What it holds on to."""
        self.last_key = assignments[0].lease_key
        self._kept = [task for one in assignments for task in one.ids]

    def received_first(self) -> int:
        return self._kept.pop(0)

    def finish(self, assignment: Assignment) -> None:
        count = len(assignment)
        self.link.finished(
            Outcomes(
                [assignment.lease_key], [0] * count, assignment.ids, assignment.attempts,
                [Outcome.SUCCEEDED] * count, [4] * count, b"null" * count,
            ),
            trio.current_time(),
        )  # fmt: skip


class Room:
    """A dispatcher with its workers."""

    def __init__(self) -> None:
        self.store, self.membership = Numbers(), Membership()
        self.hint, hints = trio.open_memory_channel[None](1)
        self.dispatcher = Dispatcher(self.store, self.membership, hints, DEFAULT)  # type: ignore[arg-type]  # what it uses

    def add(self, name: str, slots: int = 10) -> Worker:
        worker = Worker(name, slots)
        self.membership.add(worker.link)
        return worker

    def post(self, count: int) -> None:
        self.store.due += count
        try:
            self.hint.send_nowait(None)
        except trio.WouldBlock:
            pass


@asynccontextmanager
async def running() -> AsyncIterator[Room]:
    room = Room()
    async with trio.open_nursery() as nursery:
        await nursery.start(room.dispatcher.run)
        yield room
        nursery.cancel_scope.cancel()


@pytest.fixture
async def room(mock_clock: MockClock) -> AsyncIterator[Room]:
    async with running() as opened:
        yield opened


@pytest.mark.parametrize("state", ["without workers", "stopping"])
async def test_a_dispatcher_with_nothing_to_do_sleeps(
    state: str, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, original = 0, Dispatcher.run_once

    async def counted(self: Dispatcher) -> bool:
        nonlocal rounds
        rounds += 1
        return await original(self)

    monkeypatch.setattr(Dispatcher, "run_once", counted)
    async with running() as room:
        if state == "stopping":
            room.add("1")
            room.dispatcher.paused = True
        mock_clock.jump(10 * DEFAULT.poll)
        for _ in range(500):
            await trio.lowlevel.checkpoint()
    assert rounds < 10


async def test_a_hint_is_served_at_once(room: Room) -> None:
    worker = room.add("1")
    await wait_all_tasks_blocked()
    room.post(1)
    await wait_all_tasks_blocked()
    assert [one.ids for one in worker.received()] == [[1]]


async def test_without_a_hint_the_poll_finds_it(room: Room, mock_clock: MockClock) -> None:
    worker = room.add("1")
    await wait_all_tasks_blocked()
    room.store.due = 1
    await wait_all_tasks_blocked()
    assert worker.received() == []
    mock_clock.jump(DEFAULT.poll)
    await wait_all_tasks_blocked()
    assert len(worker.received()) == 1


async def test_what_becomes_due_by_time_is_found_within_a_poll_however_often_reports_wake_it(
    room: Room, mock_clock: MockClock
) -> None:
    worker = room.add("1")
    await wait_all_tasks_blocked()
    room.store.due = 1
    for _ in range(11):
        mock_clock.jump(DEFAULT.poll / 10)
        room.membership.wake()
        await wait_all_tasks_blocked()
    assert len(worker.received()) == 1


async def test_nothing_is_claimed_without_room(room: Room) -> None:
    worker = room.add("1", slots=2)
    await wait_all_tasks_blocked()
    room.store.claims.clear()
    room.post(5)
    await wait_all_tasks_blocked()
    [got] = worker.received()
    assert len(got) == 2
    assert room.store.claims == [2]
    room.post(1)
    await wait_all_tasks_blocked()
    assert room.store.claims == [2]


async def test_room_that_appears_is_filled_though_nobody_hints(room: Room, mock_clock: MockClock) -> None:
    worker = room.add("1", slots=2)
    await wait_all_tasks_blocked()
    room.post(3)
    await wait_all_tasks_blocked()
    [first] = worker.received()
    worker.finish(first)
    room.membership.wake()
    await wait_all_tasks_blocked()
    assert [len(one) for one in worker.received()] == [1]


async def test_equal_workers_get_equal_shares_although_one_is_slower_for_a_moment(
    room: Room, mock_clock: MockClock
) -> None:
    one, two = room.add("1"), room.add("2")
    await wait_all_tasks_blocked()
    room.post(1_000)
    await wait_all_tasks_blocked()
    mine = one.received()
    two.keep(two.received())
    for _ in range(5):  # the first one turns its slots over again and again, the second one holds on to its tasks
        for assignment in mine:
            one.finish(assignment)
        room.membership.wake()
        await wait_all_tasks_blocked()
        mine = one.received()
    assert one.link.given - two.link.given <= LEAD
    mock_clock.jump(PATIENCE)
    await wait_all_tasks_blocked()
    mock_clock.jump(PATIENCE)
    await wait_all_tasks_blocked()
    ahead = one.link.given - two.link.given
    assert ahead > LEAD
    room.membership.wake()
    for _ in range(3):  # and now that it is known to be slow, a slot that it gets back holds nobody up again
        two.finish(tasks([two.received_first()], two.last_key))
        for assignment in one.received():
            one.finish(assignment)
        room.membership.wake()
        await wait_all_tasks_blocked()
    assert one.link.given - two.link.given > ahead


async def test_who_was_full_while_much_was_due_does_not_get_everything_afterwards(
    room: Room, mock_clock: MockClock
) -> None:
    one, two = room.add("1", slots=40), room.add("2", slots=40)
    await wait_all_tasks_blocked()
    room.post(700)
    await wait_all_tasks_blocked()
    kept = two.received()
    for _ in range(40):  # the second one holds on to its tasks until everything else is done
        for assignment in one.received():
            one.finish(assignment)
        room.membership.wake()
        mock_clock.jump(PATIENCE)
        await wait_all_tasks_blocked()
    for assignment in kept:
        two.finish(assignment)
    room.membership.wake()
    await wait_all_tasks_blocked()
    assert room.store.due == 0
    assert sum(map(len, kept)) < 100  # of 700
    for assignment in one.received():
        one.finish(assignment)
    got = Counter[str]()
    for _ in range(40):  # now and then one
        room.post(1)
        await wait_all_tasks_blocked()
        for name, worker in (("one", one), ("two", two)):
            for assignment in worker.received():
                got[name] += len(assignment)
                worker.finish(assignment)
    assert got["two"] - got["one"] <= 2 * LEAD
    assert got.total() == 40


async def test_one_claim_takes_nobody_far_beyond_a_worker_that_it_fills(room: Room) -> None:
    small, large = room.add("1", slots=20), room.add("2", slots=400)
    await wait_all_tasks_blocked()
    room.post(300)
    await wait_all_tasks_blocked()
    assert large.link.given - small.link.given <= LEAD


async def test_room_that_is_kept_free_for_the_sake_of_equal_shares_costs_no_claims(
    room: Room, mock_clock: MockClock
) -> None:
    room.add("1", slots=2), room.add("2", slots=400)
    await wait_all_tasks_blocked()
    room.store.claims.clear()
    for _ in range(50):
        mock_clock.jump(PATIENCE / 4)
        await wait_all_tasks_blocked()
    assert len(room.store.claims) <= 50 * PATIENCE / 4 / DEFAULT.poll + 1


async def test_a_paused_or_late_worker_gets_nothing_and_holds_nobody_up(room: Room) -> None:
    one, two, late = room.add("1"), room.add("2"), room.add("3")
    two.link.paused = True
    late.link.beat_at = trio.current_time() - 2 * DEFAULT.heartbeat
    await wait_all_tasks_blocked()
    room.post(10)
    await wait_all_tasks_blocked()
    assert Counter(len(got) for got in one.received()) == {10: 1}
    assert two.received() == late.received() == []


async def test_a_claim_with_unknown_outcome_is_asked_for(room: Room) -> None:
    worker = room.add("1")
    await wait_all_tasks_blocked()
    room.store.faults.append(StorageTimeout("no answer"))
    room.store.unknown = [Claimed(0, tasks([77], b"k" * 16))]
    room.post(0)
    await wait_all_tasks_blocked()
    assert [one.ids for one in worker.received()] == [[77]]


async def test_the_database_may_be_away_for_a_while(room: Room, mock_clock: MockClock) -> None:
    worker = room.add("1")
    await wait_all_tasks_blocked()
    room.store.faults = [StorageUnavailable("gone")] * 3
    room.post(1)
    for _ in range(4):
        await wait_all_tasks_blocked()
        mock_clock.jump(0.2)
    await wait_all_tasks_blocked()
    assert len(worker.received()) == 1


async def test_an_idle_dispatcher_claims_once_a_poll_and_reads_lanes_rarely(room: Room, mock_clock: MockClock) -> None:
    room.add("1")
    await wait_all_tasks_blocked()
    room.store.claims.clear()
    room.store.lanes_read = 0
    for _ in range(20):
        mock_clock.jump(DEFAULT.poll)
        await wait_all_tasks_blocked()
    assert len(room.store.claims) == 20
    assert room.store.lanes_read <= 20 * DEFAULT.poll / LANES_AGE + 1


async def test_a_lane_that_is_new_is_found_by_its_hint(room: Room, mock_clock: MockClock) -> None:
    room.store.known = []
    worker = room.add("1")
    await wait_all_tasks_blocked()
    mock_clock.jump(0.5)
    room.store.known = [NOOP]
    room.post(1)
    await wait_all_tasks_blocked()
    assert len(worker.received()) == 1


async def test_a_lane_that_is_new_is_found_although_the_lanes_were_read_just_before(
    room: Room, mock_clock: MockClock
) -> None:
    room.store.known = []
    worker = room.add("1")
    await wait_all_tasks_blocked()
    room.dispatcher.forget_lanes()
    await wait_all_tasks_blocked()
    room.store.known = [NOOP]
    room.post(1)
    await wait_all_tasks_blocked()
    for _ in range(3):
        mock_clock.jump(NEW_LANES_AGE)
        await wait_all_tasks_blocked()
    assert len(worker.received()) == 1


async def test_one_claim_takes_no_more_than_its_limit(room: Room) -> None:
    room.add("1", slots=2 * CLAIM)
    await wait_all_tasks_blocked()
    room.store.claims.clear()
    room.post(3 * CLAIM)
    await wait_all_tasks_blocked()
    assert max(room.store.claims) == CLAIM
