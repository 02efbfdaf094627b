"""The keeper's beat over a store of its own making: who judges, what is taken back, what is kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.coordinator.membership import UNANSWERED, Claim, Link, Membership
from actors.coordinator.sessions import SWEEP, SessionKeeper
from actors.model.errors import StorageUnavailable, WritesRefused
from actors.model.lease import DEFAULT
from actors.model.link import Cancel, CoordinatorMessage, HeartbeatReply, Lease
from actors.model.ports import History, Renewed, Swept, Wishes
from actors.model.worker import CoordinatorView, Held, Session, WorkerInfo
from actors.runtime.tree import TreeNode

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
HELD = Held(7, 1, b"k" * 16)


class Store:
    """Answers at once; `swept` are the coming answers of the sweep."""

    def __init__(self) -> None:
        self.swept: list[Swept] = []
        self.sent: set[bytes] = set()
        self.linked: Collection[int] = ()
        self.leases: list[float | None] = []
        self.progress: list[tuple[int, int, str]] = []
        self.away = False
        self.held: list[Held] = [HELD]
        self.asked_held = 0
        self.wished: list[Held] = []
        self.marked: list[Held] = []
        self.marking = trio.Event()
        self.may_mark = trio.Event()
        self.may_mark.set()
        self.history: History | None = None
        self.moved: frozenset[int] = frozenset()
        self.refusal: Exception | None = None

    async def sign_in(self, *_: Any, **__: Any) -> list[CoordinatorView]:
        return []

    async def renew(
        self,
        coordinator_id: str,
        sessions: Sequence[tuple[int, int, float]],
        *,
        lease: float,
        health: Mapping[int, Any],
    ) -> Renewed:
        if self.away:
            raise StorageUnavailable("away")
        if self.refusal is not None:
            raise self.refusal
        ids = frozenset(session for session, _, _ in sessions) - self.moved
        wishes = Wishes({1: self.wished} if self.wished else {}, frozenset(), frozenset())
        return Renewed(ids, wishes, STARTED, self.history, moved=self.moved)

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
        self.leases.append(lease)
        self.sent = set(sent)
        self.linked = linked
        return self.swept.pop(0) if self.swept else Swept(0, (), {})

    async def held_by(self, session_id: int) -> list[Held]:
        self.asked_held += 1
        return self.held

    async def save_progress(self, values: Sequence[tuple[int, int, str]]) -> None:
        self.progress += values

    async def mark(self, accepted: Sequence[Held], started: Sequence[Held]) -> None:
        self.marked += accepted
        self.marking.set()
        await self.may_mark.wait()


class Bench:
    def __init__(self) -> None:
        self.store, self.membership = Store(), Membership()
        _, hints = trio.open_memory_channel[None](1)
        self.claiming: list[bytes] = []
        store: Any = self.store
        self.keeper = SessionKeeper(
            "c1", "http://c", "1", store, self.membership, hints, DEFAULT, lambda: self.claiming
        )
        self.connect()
        self.book(HELD)

    def connect(self, epoch: int = 1) -> None:
        """A new stream of the session; its books are empty."""
        outgoing, self.told = trio.open_memory_channel[CoordinatorMessage](10)
        now = trio.current_time()
        self.link = Link(
            session=Session(id=1, epoch=epoch, worker="w"), worker=WorkerInfo(id="w", name="w", slots=2),
            outgoing=outgoing, scope=trio.CancelScope(), peer="", handlers=frozenset(), connected_at=now, heard_at=now,
            beat_at=now,
        )  # fmt: skip
        self.membership.add(self.link)

    def book(self, held: Held) -> None:
        claim = Claim(held.lease_key, trio.current_time(), {})
        self.link.claims.setdefault(held.lease_key, claim).open[held.task_id] = held.attempt
        self.link.held += 1

    def cancels(self) -> list[Cancel]:
        found: list[Cancel] = []
        while True:
            try:
                message = self.told.receive_nowait()
            except trio.WouldBlock:
                return found
            if isinstance(message, Cancel):
                found.append(message)

    async def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.link.heard_at = self.link.beat_at = trio.current_time()
            await self.keeper.run_once()
            await trio.sleep(DEFAULT.renewal)


async def test_nobody_is_judged_before_the_quiet_period_is_over(autojump_clock: MockClock) -> None:
    bench = Bench()
    await bench.beat(20)
    quiet = int(DEFAULT.quiet_period)
    assert set(bench.store.leases[:quiet]) == {None}
    assert set(bench.store.leases[quiet + 1 :]) == {DEFAULT.lease}


async def test_the_grace_counts_while_somebody_could_sign_in(autojump_clock: MockClock) -> None:
    """While the database is away nobody can come back: after it the grace begins anew."""
    bench = Bench()
    convicted: list[float] = []

    async def convict(due: Sequence[tuple[int, int]], coordinator: str, *, until: float | None = None) -> list[int]:
        convicted.append(trio.current_time())
        return [session for session, _ in due]

    bench.store.convict = convict  # type: ignore[attr-defined]
    await bench.beat(2)
    bench.keeper.left(bench.link, True)
    bench.store.away = True
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.keeper.run)
        await trio.sleep(3 * DEFAULT.grace)
        assert not convicted
        bench.store.away, back_at = False, trio.current_time()
        await trio.sleep(2 * DEFAULT.grace)
        nursery.cancel_scope.cancel()
    [at] = convicted
    assert DEFAULT.grace <= at - back_at <= DEFAULT.grace + 2 * DEFAULT.renewal


async def test_a_gap_begins_the_quiet_period_anew(autojump_clock: MockClock) -> None:
    bench = Bench()
    await bench.beat(15)
    assert bench.store.leases[-1] == DEFAULT.lease
    bench.store.away = True
    with pytest.raises(StorageUnavailable):
        await bench.beat()
    await trio.sleep(5)
    bench.store.away = False
    await bench.beat()
    assert bench.store.leases[-1] is None


async def test_a_conviction_is_swept_at_once(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.store.swept = [Swept(0, [5], {}), Swept(SWEEP, (), {}), Swept(3, (), {})]
    await bench.beat()
    assert len(bench.store.leases) == 3


async def test_what_was_taken_back_leaves_the_books_and_is_stopped(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.store.swept = [Swept(1, (), {1: [HELD], 99: [HELD]})]
    await bench.beat()
    assert (bench.link.held, bench.link.claims) == (0, {})
    assert bench.told.receive_nowait() == Cancel([HELD], "unacknowledged")


async def test_progress_is_handed_on_once(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.link.progress[(7, 1)] = '{"done": 1}'
    await bench.beat(2)
    assert bench.store.progress == [(7, 1, '{"done": 1}')]


async def test_a_cancel_is_told_once_on_a_stream_and_again_on_the_next(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.store.wished = [HELD]
    await bench.beat(3)
    assert bench.cancels() == [Cancel([HELD], "cancelled")]
    bench.connect(epoch=2)  # the one before may have been lost with its stream
    bench.book(HELD)
    await bench.beat(3)
    assert bench.cancels() == [Cancel([HELD], "cancelled")]


async def test_a_cancel_waits_until_its_assignment_was_sent(autojump_clock: MockClock) -> None:
    bench = Bench()
    early = Held(8, 1, b"e" * 16)  # claimed, and not yet handed out
    bench.store.wished = [early]
    await bench.beat()
    assert bench.cancels() == []
    bench.book(early)
    await bench.beat()
    assert bench.cancels() == [Cancel([early], "cancelled")]


async def test_an_acceptance_that_comes_while_others_are_noted_is_noted_later(autojump_clock: MockClock) -> None:
    bench = Bench()
    late = Held(8, 1, HELD.lease_key)
    bench.book(late)
    claim = bench.link.claims[HELD.lease_key]
    claim.accepted.add(HELD.task_id)
    await trio.sleep(DEFAULT.renewal)
    bench.store.may_mark = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.beat)
        await bench.store.marking.wait()
        claim.accepted.add(late.task_id)
        bench.store.may_mark.set()
    await bench.beat()
    assert late in bench.store.marked


async def test_the_sweep_is_told_what_may_be_with_a_worker_and_is_not_in_the_table_yet(
    autojump_clock: MockClock,
) -> None:
    bench = Bench()
    bench.claiming = [b"n" * 16]
    await bench.beat()
    assert bench.store.sent == {HELD.lease_key, b"n" * 16}
    bench.link.claims[HELD.lease_key].accepted.add(HELD.task_id)
    await bench.beat(2)
    assert bench.store.sent == {b"n" * 16}
    assert bench.store.linked == [bench.link.session.id]


async def test_a_worker_s_tree_grows_older_although_the_worker_tells_it_rarely(autojump_clock: MockClock) -> None:
    bench = Bench()
    assert bench.keeper.trees() == {}
    bench.link.hear_tree(json.dumps(TreeNode("w", children={"a": TreeNode("a", since=-0.5)}, since=-1.0).as_json()))
    await trio.sleep(20)
    tree = bench.keeper.trees()["w"]
    assert (tree["uptime"], tree["children"][0]["uptime"]) == (21.0, 20.5)


@pytest.mark.parametrize("grace", [True, False])
async def test_nothing_is_taken_back_from_a_worker_that_is_gone(grace: bool, autojump_clock: MockClock) -> None:
    """Its acceptance may have been lost with the stream: what it was given may run there."""
    bench = Bench()
    await bench.beat()
    assert bench.store.linked == [bench.link.session.id]
    bench.membership.remove(bench.link)
    bench.keeper.left(bench.link, grace)
    await trio.sleep(DEFAULT.sweep)
    await bench.beat()
    assert bench.store.linked == []


async def test_a_worker_that_was_told_frozen_gets_nothing_until_it_is_told_otherwise_which_is_soon(
    autojump_clock: MockClock,
) -> None:
    bench = Bench()
    await bench.beat()
    bench.store.away = True
    with pytest.raises(StorageUnavailable):
        await bench.beat()
    await trio.sleep(10)
    bench.link.beat_at = trio.current_time()
    assert bench.keeper.reply(bench.link, 1).lease is Lease.FROZEN
    assert not bench.link.may_get_work(trio.current_time(), 3.0)
    bench.store.away = False
    await bench.beat()
    reply = bench.told.receive_nowait()
    assert isinstance(reply, HeartbeatReply)
    assert reply.lease is Lease.RENEWED
    assert bench.link.may_get_work(trio.current_time(), 3.0)


async def test_what_the_table_gave_to_others_unheard_leaves_the_books_in_the_end(autojump_clock: MockClock) -> None:
    bench = Bench()
    await bench.beat(25)
    assert (bench.link.held, bench.store.asked_held) == (1, 2)
    bench.store.held = []  # the answer of a sweep was lost with its connection
    await bench.beat(10)
    assert (bench.link.held, bench.link.claims) == (0, {})
    assert bench.cancels() == [Cancel([HELD], "unacknowledged")]
    asked = bench.store.asked_held
    await bench.beat(25)
    assert bench.store.asked_held == asked  # who holds nothing for long is asked about nothing


async def test_assignments_that_come_back_unacknowledged_count_against_the_worker(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.link.claims[HELD.lease_key].accepted.add(HELD.task_id)
    bench.store.swept = [Swept(1, (), {1: [HELD]})]  # its time was over
    await bench.beat(2)
    assert bench.link.unanswered == 0
    for count in range(1, UNANSWERED + 1):
        bench.book(HELD)
        bench.store.swept = [Swept(1, (), {1: [HELD]})]
        await bench.beat(2)
        assert bench.link.unanswered == count
    assert bench.link.benched_until > trio.current_time()


async def test_a_session_that_was_taken_over_is_left_without_a_word(autojump_clock: MockClock) -> None:
    """A resumption that waited in a database may have moved it back and forth: the worker is not told to stop."""
    bench = Bench()
    bench.store.moved = frozenset({1})
    await bench.beat()
    assert bench.link.scope.cancel_called
    assert not bench.link.lost
    assert not [message async for message in until_empty(bench.told) if isinstance(message, HeartbeatReply)]


async def test_commits_that_are_lost_end_every_session(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.store.history = History(7, 1, 1_000)
    await bench.beat(20)
    assert bench.store.leases[-1] == DEFAULT.lease
    assert not bench.link.lost
    bench.store.history = History(7, 2, 999)
    await bench.beat()
    assert bench.link.lost
    assert bench.link.scope.cancel_called
    assert bench.keeper.acknowledged.lost == 1
    assert bench.link.confirmed < bench.link.sequence or bench.link.sequence == 0
    told = [message async for message in until_empty(bench.told)]
    assert [one.lease for one in told if isinstance(one, HeartbeatReply)] == [Lease.LOST]
    assert bench.store.leases[-1] is None  # the quiet period has begun anew


async def until_empty(told: trio.MemoryReceiveChannel[CoordinatorMessage]) -> AsyncIterator[CoordinatorMessage]:
    while told.statistics().current_buffer_used:
        yield await told.receive()


@pytest.mark.parametrize("history", [History(7, 2, 2_000), History(8, 1, 2_000)])
async def test_a_failover_begins_the_quiet_period_anew(autojump_clock: MockClock, history: History) -> None:
    bench = Bench()
    bench.store.history = History(7, 1, 1_000)
    await bench.beat(20)
    assert bench.store.leases[-1] == DEFAULT.lease
    bench.store.history = history
    await bench.beat()
    assert bench.store.leases[-1] is None


async def test_a_database_that_takes_no_writes_freezes_the_workers_and_says_why(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.store.refusal = WritesRefused("its disk is full")
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.keeper.run)
        await trio.sleep(5)
        assert bench.keeper.reply(bench.link, 1).lease is Lease.FROZEN
        assert bench.keeper.refusal == "its disk is full"
        bench.store.refusal = None
        bench.link.heard_at = bench.link.beat_at = trio.current_time()
        await trio.sleep(2)
        assert bench.keeper.reply(bench.link, 2).lease is Lease.RENEWED
        assert bench.keeper.refusal is None
        nursery.cancel_scope.cancel()


async def test_a_full_database_that_renews_leases_freezes_nobody(autojump_clock: MockClock) -> None:
    bench = Bench()

    async def sweep(*_: Any, **__: Any) -> Swept:
        raise WritesRefused("its disk is full")

    bench.store.sweep = sweep  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.keeper.run)
        for sequence in range(1, 6):
            bench.link.heard_at = bench.link.beat_at = trio.current_time()
            assert bench.keeper.reply(bench.link, sequence).lease is Lease.RENEWED
            await trio.sleep(DEFAULT.renewal)
        nursery.cancel_scope.cancel()
