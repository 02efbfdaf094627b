"""The link through all that may happen to it: resume, freeze, loss, deafness, refusal; in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from actors.model import link as wire
from actors.model.columns import EXCLUSIVE, Assignment, Outcome, Verdict
from actors.model.lease import FAST as TERMS
from actors.model.worker import Held, WorkerInfo
from actors.worker.link import WorkerLink
from tests.support.worker import KEY, FakeCoordinator, FakeStream, an_assignment, kinds, outcomes_of

A, B = "http://a:1", "http://b:1"
USABLE = TERMS.lease - TERMS.margin


@dataclass
class FakeCrew:
    link: WorkerLink | None = None
    assigned: list[int] = field(default_factory=list)
    cancelled: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    deadline: float | None = None

    def assign(self, assignment: Assignment) -> None:
        self.assigned += assignment.ids

    def cancel(self, ids: Sequence[int], reason: str) -> None:
        self.cancelled.append((tuple(ids), reason))

    def set_deadline(self, deadline: float | None) -> None:
        self.deadline = deadline


@dataclass
class Bench:
    link: WorkerLink
    crew: FakeCrew
    coordinator: FakeCoordinator
    nursery: trio.Nursery
    drains: list[str]

    async def signed_in(self, session: int = 1, **more: Any) -> FakeStream:
        stream = await self.coordinator.accept()
        await stream.welcome(session, **more)
        return stream

    def serve(self, stream: FakeStream, lease: wire.Lease | None = wire.Lease.RENEWED) -> None:
        self.nursery.start_soon(stream.answer_beats, lambda: lease)


@asynccontextmanager
async def a_link(*addresses: str, frozen_limit: float | None = None) -> AsyncIterator[Bench]:
    coordinator, crew, drains = FakeCoordinator(TERMS), FakeCrew(), list[str]()
    link = WorkerLink(
        worker=lambda: WorkerInfo(id="w-1", name="w", slots=5),
        secret=b"s" * 32,
        token="",
        addresses=addresses or (A,),
        dial=coordinator.dial,
        crew=crew,
        terms=TERMS,
        health=lambda: {},
        tree=lambda: {"name": "w", "uptime": trio.current_time(), "children": []},
        on_drain=drains.append,
        clock=trio.current_time,
        frozen_limit=frozen_limit,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        yield Bench(link, crew, coordinator, nursery, drains)
        nursery.cancel_scope.cancel()


async def test_an_assignment_is_accepted_and_its_outcome_kept_until_it_is_committed(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1, 2)))
        assert (await stream.hear(wire.Accepted)).key == KEY
        assert bench.crew.assigned == [1, 2]
        bench.link.finished(outcomes_of(1, 2))
        report = await stream.hear(wire.Report)
        assert report.outcomes.ids == [1, 2]
        assert not await bench.link.flush(0.5)
        stream.say(wire.Committed(report.sequence, [Verdict.ACCEPTED] * 2))
        assert await bench.link.flush(1)


async def test_a_lost_stream_is_resumed_with_what_runs_and_what_is_unacknowledged(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in(7)
        stream.say(wire.Assign(an_assignment(1, 2)))
        await stream.hear(wire.Accepted)
        bench.link.started([Held(2, 1, KEY)])
        bench.link.finished(outcomes_of(1))
        stream.close()
        bench.link.finished(outcomes_of(9))  # while nobody is there
        again = await bench.coordinator.accept()
        hello = await again.welcome(7, epoch=2, resumed=True)
        assert hello.session == 7
        assert {one.task_id for one in hello.running} == {1, 2, 9}
        assert (await again.hear(wire.Started)).attempts == [Held(2, 1, KEY)]
        assert [(await again.hear(wire.Report)).outcomes.ids for _ in range(2)] == [[1], [9]]
        assert not bench.crew.cancelled


async def test_while_its_lease_lives_a_worker_dials_as_often_as_at_first(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1)))
        await stream.hear(wire.Accepted)
        bench.coordinator.away = {A}
        stream.close()
        await trio.sleep(USABLE - 2 * TERMS.reconnect_delay)  # a coordinator may be back as late as this
        bench.coordinator.away = set()
        with trio.fail_after(TERMS.reconnect_delay + 0.01):
            await bench.signed_in(epoch=2, resumed=True)
        assert bench.crew.cancelled == []


async def test_what_a_resumed_session_no_longer_holds_is_stopped(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1, 2)))
        await stream.hear(wire.Accepted)
        stream.close()
        again = await bench.signed_in(epoch=2, resumed=True, stop=[Held(2, 1, KEY), Held(5, 1, KEY)])
        await again.hear(wire.Heartbeat)
        assert bench.crew.cancelled == [((2,), "session")]


async def test_a_new_session_stops_what_ran_under_the_old_one_and_still_reports_it(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in(1)
        stream.say(wire.Assign(an_assignment(1)))
        await stream.hear(wire.Accepted)
        stream.close()
        again = await bench.signed_in(2, resumed=False)
        await again.hear(wire.Heartbeat)
        assert bench.crew.cancelled == [((1,), "session")]
        bench.link.finished(outcomes_of(1, kind=Outcome.RELEASED))
        assert kinds((await again.hear(wire.Report)).outcomes) == {1: Outcome.RELEASED}


async def test_the_deadline_counts_from_hello_and_follows_confirmed_heartbeats(autojump_clock: Any) -> None:
    async with a_link() as bench:
        began = trio.current_time()
        stream = await bench.signed_in()
        beat = await stream.hear(wire.Heartbeat)
        assert bench.crew.deadline == pytest.approx(began + USABLE, abs=0.01)
        await trio.sleep(0.5)
        sent = trio.current_time() - 0.5
        stream.reply(beat)
        await trio.sleep(0.1)
        assert bench.crew.deadline == pytest.approx(sent + USABLE, abs=0.01)


async def test_without_renewal_everything_stops_at_the_deadline(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1)))
        await stream.hear(wire.Accepted)
        began = trio.current_time()
        stream.close()
        bench.coordinator.away.add(A)
        while not bench.crew.cancelled:
            await trio.sleep(0.05)
        assert bench.crew.cancelled == [((1,), "lease")]
        assert USABLE - 0.5 < trio.current_time() - began <= USABLE + 0.3
        assert bench.crew.deadline is None
        bench.coordinator.away.clear()
        hello = await (await bench.coordinator.accept()).hear(wire.Hello)
        assert hello.session == 0
        assert [one.task_id for one in hello.running] == [1]


async def test_a_lost_session_stops_everything_and_signs_in_anew(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1)))
        stream.reply(await stream.hear(wire.Heartbeat), wire.Lease.LOST)
        hello = await (await bench.coordinator.accept()).hear(wire.Hello)
        assert hello.session == 0
        assert bench.crew.cancelled == [((1,), "session")]


async def test_frozen_keeps_what_runs_and_starts_nothing(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1)))
        bench.serve(stream, wire.Lease.FROZEN)
        await trio.sleep(3 * TERMS.lease)
        assert bench.link.state.frozen
        assert bench.link.state.connected
        assert bench.crew.cancelled == []
        stream.say(wire.Assign(an_assignment(2, key=b"n" * 16)))
        await trio.sleep(0.1)
        assert bench.crew.assigned == [1]
        assert bench.link.ledger.unacknowledged == 1


async def test_exclusive_attempts_do_not_outlive_their_own_deadline_while_frozen(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1, flags=EXCLUSIVE)))
        stream.say(wire.Assign(an_assignment(2, key=b"n" * 16)))
        bench.serve(stream, wire.Lease.FROZEN)
        await trio.sleep(USABLE + 0.5)
        assert bench.crew.cancelled
        assert set(bench.crew.cancelled) == {((1,), "lease")}


async def test_frozen_work_goes_on_for_so_long_only_when_that_is_limited(autojump_clock: Any) -> None:
    async with a_link(frozen_limit=60.0) as bench:
        stream = await bench.signed_in()
        stream.say(wire.Assign(an_assignment(1)))
        bench.serve(stream, wire.Lease.FROZEN)
        await trio.sleep(60 - TERMS.heartbeat)
        assert not bench.crew.cancelled
        await trio.sleep(2 * TERMS.heartbeat + TERMS.lease)
        assert bench.crew.cancelled == [((1,), "lease")]


async def test_a_frozen_link_is_kept_while_no_other_coordinator_renews(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        stream = await bench.signed_in(coordinators=[A, B])
        stream.say(wire.Assign(an_assignment(1)))
        bench.serve(stream, wire.Lease.FROZEN)
        for _ in range(3):
            other = await bench.coordinator.accept()
            assert other.address == B
            await other.hear(wire.Hello)
            other.say(wire.Reject("the coordinator's database does not answer; try again", retry=True))
        assert bench.link.state.coordinator == A
        assert bench.link.state.connected
        assert bench.crew.cancelled == []


async def test_a_frozen_session_moves_to_a_coordinator_that_renews(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        stream = await bench.signed_in(coordinators=[A, B])
        stream.say(wire.Assign(an_assignment(1)))
        bench.serve(stream, wire.Lease.FROZEN)
        other = await bench.coordinator.accept()
        hello = await other.hear(wire.Hello)
        assert hello.session == 1
        stream.reply(wire.Heartbeat(sequence=99, running=1, loop_lag=0), wire.Lease.LOST)  # it noticed the move
        await trio.sleep(0.01)
        other.say(wire.Welcome(session=1, epoch=2, terms=TERMS, coordinators=[A, B], stop=[], resumed=True))
        bench.serve(other)
        await trio.sleep(2 * TERMS.lease)
        assert bench.link.state.coordinator == B
        assert not bench.link.state.frozen
        assert bench.crew.cancelled == []
        assert bench.coordinator.dialled == [A, B]


async def test_a_lost_session_is_lost_when_the_other_coordinator_does_not_have_it(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        stream = await bench.signed_in(coordinators=[A, B])
        stream.say(wire.Assign(an_assignment(1)))
        bench.serve(stream, wire.Lease.FROZEN)
        other = await bench.coordinator.accept()
        await other.hear(wire.Hello)
        stream.reply(wire.Heartbeat(sequence=99, running=1, loop_lag=0), wire.Lease.LOST)
        await trio.sleep(0.01)
        assert bench.crew.cancelled == []
        other.close()
        await trio.sleep(0.01)
        assert bench.crew.cancelled == [((1,), "session")]


async def test_a_deaf_stream_is_left_for_another_coordinator(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        began = trio.current_time()
        await bench.signed_in()
        other = await bench.coordinator.accept()
        assert other.address == B
        assert trio.current_time() - began < TERMS.silence * 1.2 + TERMS.reconnect_delay
        assert (await other.hear(wire.Hello)).session == 1


async def test_a_coordinator_that_answers_heartbeats_but_not_outcomes_is_left(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        stream = await bench.signed_in()
        bench.serve(stream)
        bench.link.finished(outcomes_of(1))
        began = trio.current_time()
        other = await bench.coordinator.accept()
        assert other.address == B
        assert TERMS.unanswered < trio.current_time() - began < TERMS.unanswered * 1.3 + TERMS.reconnect_delay


async def test_unanswered_outcomes_are_no_reason_to_leave_while_the_database_is_away(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        lease = wire.Lease.FROZEN
        bench.nursery.start_soon(stream.answer_beats, lambda: lease)
        bench.link.finished(outcomes_of(1))
        await trio.sleep(5 * TERMS.silence)
        lease = wire.Lease.RENEWED
        await trio.sleep(TERMS.silence * 0.7)
        assert bench.coordinator.dialled == [A]


async def test_a_closed_stream_is_tried_at_the_same_coordinator_first(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        (await bench.signed_in()).close()
        await bench.coordinator.accept()
        assert bench.coordinator.dialled == [A, A]


async def test_an_address_that_can_not_be_reached_is_followed_by_the_next(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        stream = await bench.signed_in()
        bench.coordinator.away.add(A)
        stream.close()
        assert (await bench.coordinator.accept()).address == B
        assert bench.coordinator.dialled == [A, A, B]


async def test_a_refusal_is_shown_and_tried_again_with_patience(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.coordinator.accept()
        await stream.hear(wire.Hello)
        stream.say(wire.Reject("the worker's CALLBOARD_TOKEN is missing", retry=False))
        await trio.sleep(0.01)
        assert bench.link.state.rejected == "the worker's CALLBOARD_TOKEN is missing"
        began = trio.current_time()
        again = await bench.coordinator.accept()
        assert trio.current_time() - began >= 0.4
        await again.welcome()
        await trio.sleep(0.01)
        assert bench.link.state.rejected is None


async def test_a_thousand_reports_pass_a_narrow_stream(autojump_clock: Any) -> None:
    async with a_link() as bench:
        for task in range(1000):
            bench.link.finished(outcomes_of(task))
        stream = await bench.signed_in()
        told = [await stream.hear(wire.Report) for _ in range(1000)]
        assert [report.outcomes.ids[0] for report in told] == list(range(1000))
        assert bench.coordinator.dialled == [A]


async def test_a_draining_worker_hands_everything_back(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        bench.link.begin_drain()
        await stream.hear(wire.Draining)
        stream.say(wire.Assign(an_assignment(1, 2)))
        report = await stream.hear(wire.Report)
        assert kinds(report.outcomes) == {1: Outcome.RELEASED, 2: Outcome.RELEASED}
        assert bench.crew.assigned == []
        stream.close()
        again = await bench.signed_in(epoch=2, resumed=True)
        await again.hear(wire.Draining)


async def test_signing_out_says_goodbye_and_ends(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        await stream.hear(wire.Heartbeat)

        async def coordinator() -> None:
            await stream.hear(wire.Goodbye)
            stream.close()

        bench.nursery.start_soon(coordinator)
        began = trio.current_time()
        await bench.link.sign_out()
        await trio.sleep(10)
        assert trio.current_time() - began < 10.5
        assert bench.coordinator.dialled == [A]


async def test_an_operators_drain_is_passed_on(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Drain("an operator asked this worker to drain"))
        await trio.sleep(0.01)
        assert bench.drains == ["an operator asked this worker to drain"]


async def test_a_tree_in_which_only_time_passes_is_rarely_told(autojump_clock: Any) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        seen = 0

        async def count() -> None:
            nonlocal seen
            async for message in stream.incoming:
                if isinstance(message, wire.Heartbeat):
                    stream.reply(message)
                seen += isinstance(message, wire.Tree)

        bench.nursery.start_soon(count)
        await trio.sleep(60)
        assert 3 <= seen <= 5


async def test_what_never_arrived_is_handed_back_and_what_came_after_hello_is_not(autojump_clock: Any) -> None:
    async with a_link(A, B) as bench:
        stream = await bench.signed_in(coordinators=[A, B])
        bench.serve(stream, wire.Lease.FROZEN)
        other = await bench.coordinator.accept()
        hello = await other.hear(wire.Hello)
        assert hello.running == []
        stream.reply(wire.Heartbeat(sequence=1, running=0, loop_lag=0))  # the old one has thawed, and assigns again
        stream.say(wire.Assign(an_assignment(1)))
        await trio.sleep(0.01)
        assert bench.crew.assigned == [1]
        came, lost = Held(1, 1, KEY), Held(2, 1, KEY)
        other.say(
            wire.Welcome(
                session=1, epoch=2, terms=TERMS, coordinators=[A, B], stop=[], resumed=True, unnamed=[came, lost]
            )
        )
        assert (await other.hear(wire.Accepted)).ids == [1]
        report = await other.hear(wire.Report)
        assert (report.outcomes.ids, report.outcomes.kinds) == ([2], [Outcome.REFUSED])
        assert bench.link.ledger.running_ids() == [1]
        assert bench.crew.cancelled == []
