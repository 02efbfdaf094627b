"""One stream at the coordinator: what a worker may say, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.coordinator import link as link_module
from actors.coordinator.completer import Completer
from actors.coordinator.failing import FIRST, LEAST
from actors.coordinator.link import STUCK_LIMIT, Desk, LinkActor
from actors.coordinator.membership import ASIDE, SMALL_TALK, UNANSWERED, Link, Membership
from actors.model import link as wire
from actors.model.columns import Assignment, Outcome, Outcomes, Verdict
from actors.model.lease import DEFAULT
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo

KEY = b"k" * 16
M = TypeVar("M")


class Store:
    def __init__(self) -> None:
        self.sessions = 0
        self.closed: list[int] = []
        self.held: list[Held] = []
        self.resumed: list[int] = []
        self.answers = trio.Event()
        self.answers.set()

    async def open_session(self, worker: WorkerInfo, **_: Any) -> Session:
        self.sessions += 1
        return Session(id=self.sessions, epoch=1, worker=worker.id)

    async def resume_session(self, session: int, *, worker: WorkerInfo, **_: Any) -> Session:
        await self.answers.wait()
        self.resumed.append(session)
        return Session(id=session, epoch=2, worker=worker.id)

    async def held_by(self, session: int) -> list[Held]:
        return self.held

    async def declare(self, handlers: Sequence[HandlerInfo]) -> None:
        pass

    async def close_session(self, session: int, epoch: int) -> None:
        self.closed.append(session)

    async def complete(self, outcomes: Outcomes) -> list[Verdict]:
        return [Verdict.ACCEPTED] * len(outcomes)


class Peer:
    """A worker's end of one stream, in its own words."""

    def __init__(self, office: Office) -> None:
        self.say, incoming = trio.open_memory_channel[Any](10_000)
        outgoing, self.heard = trio.open_memory_channel[Any](office.outgoing)
        self.actor = LinkActor(office.desk, wire.CoordinatorEnd("127.0.0.1", incoming, outgoing))
        self.ended = trio.Event()
        self._sequence = 0

    async def run(self) -> None:
        await self.actor.serve()
        self.ended.set()

    async def expect(self, kind: type[M]) -> M:
        with trio.fail_after(60):
            message = await self.heard.receive()
        assert isinstance(message, kind), message
        return message

    async def report(self, ids: Sequence[int], kind: Outcome = Outcome.SUCCEEDED) -> None:
        self._sequence += 1
        count = len(ids)
        columns = Outcomes([KEY], [0] * count, list(ids), [1] * count, [int(kind)] * count, [2] * count, b"{}" * count)
        await self.say.send(wire.Report(self._sequence, columns))
        await self.expect(wire.Committed)


class Office:
    """What a coordinator has besides its links."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery, self.store, self.membership, self.outgoing = nursery, Store(), Membership(), 1_000
        store: Any = self.store
        self.completer = Completer(store)
        nursery.start_soon(self.completer.run)
        self.left: list[bool] = []
        self.desk = Desk(
            coordinator_id="c1", store=store, membership=self.membership, completer=self.completer, terms=DEFAULT,
            token=None, reply=self._reply, coordinators=list, declared=lambda: None,
            left=lambda link, grace: self.left.append(grace),
        )  # fmt: skip

    @staticmethod
    def _reply(link: Link, sequence: int) -> wire.HeartbeatReply:
        return wire.HeartbeatReply(
            sequence=sequence, lease=wire.Lease.RENEWED, confirmed=sequence, coordinators=[], database_ok=True,
            database_age=0.0,
        )  # fmt: skip

    def connect(self) -> Peer:
        peer = Peer(self)
        self.nursery.start_soon(peer.run)
        return peer

    async def signed_in(self, name: str, **fields: Any) -> tuple[Peer, Link]:
        peer = self.connect()
        await peer.say.send(hello(name, **fields))
        welcome = await peer.expect(wire.Welcome)
        await wait_all_tasks_blocked()
        link = self.membership.get(welcome.session)
        assert link is not None
        return peer, link


def hello(name: str = "w", **fields: Any) -> wire.Hello:
    worker = WorkerInfo(id=name, name=name, slots=4, handlers=[HandlerInfo(name="job")])
    return wire.Hello(worker=worker, secret=b"s" * 32, **fields)


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    async with trio.open_nursery() as nursery:
        yield Office(nursery)
        nursery.cancel_scope.cancel()


def give(link: Link, ids: Sequence[int], names: Callable[[int], int] = lambda task: 0) -> None:
    count = len(ids)
    part = Assignment(
        KEY, list(ids), [1] * count, ["job", "other"], [names(one) for one in ids], [0] * count, [0] * count,
        [2] * count, b"{}" * count,
    )  # fmt: skip
    link.assign(part, trio.current_time())


async def test_who_fails_what_others_can_do_gets_no_work_for_a_while(autojump_clock: MockClock) -> None:
    async with office() as here:
        good, fine = await here.signed_in("good")
        bad, broken = await here.signed_in("bad")
        give(fine, range(1, 4))
        await good.expect(wire.Assign)
        await good.report([1, 2, 3])
        ids = range(11, 11 + LEAST)
        give(broken, ids)
        await bad.expect(wire.Assign)
        assert broken.room(trio.current_time(), 1e9) == 0  # full
        await bad.report(ids, Outcome.FAILED)
        now = trio.current_time()
        assert broken.held == 0
        assert broken.room(now, 1e9) == 0
        assert "no work" in broken.shown_health(now)["failing"]
        assert broken.room(now + FIRST, 1e9) == 4
        assert "failing" not in broken.shown_health(now + FIRST)
        assert fine.room(now, 1e9) == 4


async def test_another_stream_of_a_benched_session_gets_no_work_either(autojump_clock: MockClock) -> None:
    async with office() as here:
        here.membership.failures.add(2, {"job": (5, 0)}, 0.0)
        until = here.membership.failures.add(1, {"job": (0, LEAST)}, 0.0)
        _, link = await here.signed_in("bad", session=1)
        assert link.benched_until == until


async def test_outcomes_are_counted_by_handler(autojump_clock: MockClock) -> None:
    async with office() as here:
        _, link = await here.signed_in("w")
        give(link, range(1, 7), names=lambda task: task % 2)
        kinds = [
            Outcome.SUCCEEDED,
            Outcome.FAILED,
            Outcome.RELEASED,
            Outcome.CRASHED,
            Outcome.REFUSED,
            Outcome.SUCCEEDED,
        ]
        columns = Outcomes([KEY, b"x" * 16], [0] * 6 + [1], [*range(1, 7), 99], [1] * 7, [*map(int, kinds), 0])
        assert link.tally(columns) == {"other": (1, 0), "job": (1, 2)}


async def test_a_report_of_successes_is_counted_too(autojump_clock: MockClock) -> None:
    async with office() as here:
        _, link = await here.signed_in("w")
        give(link, range(1, 4), names=lambda task: 0 if task < 3 else 1)
        assert link.tally(Outcomes([KEY], [0] * 4, [1, 2, 3, 99], [1] * 4, [0] * 4)) == {"job": (2, 0), "other": (1, 0)}


async def test_a_worker_that_reads_nothing_for_five_seconds_is_dropped(autojump_clock: MockClock) -> None:
    async with office() as here:
        here.outgoing = 1
        peer, link = await here.signed_in("w")
        began = trio.current_time()
        link.tell(wire.Pause(True))
        assert link.room(began, 1e9) == 4
        link.tell(wire.Pause(False))
        assert link.room(began, 1e9) == 0  # it gets nothing while something waits
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beats, peer)
            await peer.ended.wait()
            nursery.cancel_scope.cancel()
        assert STUCK_LIMIT <= trio.current_time() - began <= STUCK_LIMIT + 2
        assert here.left == [False]  # no grace: it may be alive, and its lease decides


async def test_a_worker_that_reads_again_gets_everything_in_order(autojump_clock: MockClock) -> None:
    async with office() as here:
        here.outgoing = 1
        peer, link = await here.signed_in("w")
        told = [wire.Pause(number % 2 == 0) for number in range(40)]
        for message in told:
            link.tell(message)
        await trio.sleep(STUCK_LIMIT - 2)
        assert [await peer.expect(wire.Pause) for _ in told] == told
        assert link.room(trio.current_time(), 1e9) == 4
        assert not link.scope.cancel_called


async def test_what_waits_for_a_stream_is_bounded(autojump_clock: MockClock) -> None:
    async with office() as here:
        here.outgoing = 1
        _, link = await here.signed_in("w")
        for _ in range(link.outbound + 1):
            link.tell(wire.Pause(True))
        assert not link.scope.cancel_called
        assert link.outbound == 2 * 4 + SMALL_TALK
        link.tell(wire.Pause(True))
        assert link.scope.cancel_called


async def test_who_never_answers_assignments_is_given_none_after_the_third_time(autojump_clock: MockClock) -> None:
    async with office() as here:
        peer, link = await here.signed_in("w")
        for _ in range(UNANSWERED - 1):
            link.left_unanswered(trio.current_time())
        await peer.say.send(wire.Accepted(KEY))
        await wait_all_tasks_blocked()
        now = trio.current_time()
        for _ in range(UNANSWERED - 1):
            link.left_unanswered(now)
        assert link.room(now, 1e9) == 4
        link.left_unanswered(now)
        assert link.room(now, 1e9) == 0
        assert "says nothing" in link.shown_health(now)["failing"]
        assert link.room(now + ASIDE, 1e9) == 4
        link.left_unanswered(now + ASIDE)  # one more is enough
        assert link.room(now + ASIDE, 1e9) == 0


async def beats(peer: Peer) -> None:
    for sequence in range(1, 1_000):
        await peer.say.send(wire.Heartbeat(sequence=sequence, running=0, loop_lag=0.0))
        await trio.sleep(DEFAULT.heartbeat)


async def test_a_worker_is_told_what_it_did_not_name_and_nothing_of_it_is_taken_back(autojump_clock: MockClock) -> None:
    async with office() as here:
        named, unnamed, gone = Held(1, 1, KEY), Held(2, 1, KEY), Held(3, 1, KEY)
        here.store.held = [named, unnamed]
        peer = here.connect()
        await peer.say.send(hello(session=7, running=[named, gone]))
        welcome = await peer.expect(wire.Welcome)
        assert (list(welcome.unnamed), list(welcome.stop)) == ([unnamed], [gone])
        await wait_all_tasks_blocked()
        link = here.membership.get(7)
        assert link is not None
        assert link.held == 2
        assert link.acceptances(trio.current_time(), 0.0) == [named]
        await peer.say.send(wire.Accepted(KEY, [2]))
        await wait_all_tasks_blocked()
        assert sorted(one.task_id for one in link.acceptances(trio.current_time(), 0.0)) == [1, 2]


async def test_a_session_is_not_taken_over_for_a_worker_that_no_longer_waits(autojump_clock: MockClock) -> None:
    async with office() as here:
        here.store.answers = trio.Event()  # the database does not answer
        peer = here.connect()
        await peer.say.send(hello(session=7))
        await trio.sleep(3)
        peer.say.close()
        await trio.sleep(0.1)
        here.store.answers.set()
        await trio.sleep(1)
        assert here.store.resumed == []
        assert peer.ended.is_set()
        assert len(here.membership) == 0


async def test_a_worker_that_does_not_wait_for_its_refusal_costs_nothing(autojump_clock: MockClock) -> None:
    async with office() as here:
        peer = here.connect()
        peer.heard.close()
        await peer.say.send(wire.Heartbeat(sequence=1, running=0, loop_lag=0.0))
        with trio.fail_after(1):
            await peer.ended.wait()


async def test_a_worker_that_leaves_before_its_welcome_gets_the_grace_of_a_closed_socket(
    autojump_clock: MockClock,
) -> None:
    async with office() as here:
        peer = here.connect()
        peer.heard.close()
        await peer.say.send(hello())
        with trio.fail_after(1):
            await peer.ended.wait()
        assert here.store.sessions == 1
        assert here.left == [True]
        assert len(here.membership) == 0


async def test_what_is_said_before_welcome_is_heard(autojump_clock: MockClock) -> None:
    async with office() as here:
        here.store.answers = trio.Event()
        peer = here.connect()
        await peer.say.send(hello(session=7))
        await peer.say.send(wire.Heartbeat(sequence=4, running=0, loop_lag=0.0))
        await trio.sleep(1)
        here.store.answers.set()
        await peer.expect(wire.Welcome)
        assert (await peer.expect(wire.HeartbeatReply)).sequence == 4


async def test_a_coordinator_takes_so_many_workers_and_those_it_has_may_come_back(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert link_module.MAX_LINKS == 10_000
    monkeypatch.setattr(link_module, "MAX_LINKS", 2)
    async with office() as here:
        await here.signed_in("a")
        _, link = await here.signed_in("b")
        third = here.connect()
        await third.say.send(hello("c"))
        refusal = await third.expect(wire.Reject)
        assert refusal.retry
        assert "add another coordinator" in refusal.reason
        await here.signed_in("b", session=link.session.id)
