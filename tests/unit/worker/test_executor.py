"""What an executor's actor does when its child does not do its part, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.model.columns import SOLO, Outcome
from actors.model.errors import ConfigurationError, RestartLimitReached
from actors.runtime.supervisor import leaves
from actors.runtime.tree import TreeNode
from actors.worker.crew import Crew
from actors.worker.limits import Limits
from callboard.executor import frames
from tests.support.worker import Children, FakeChild, Notes, an_assignment

LIMITS = Limits(cancel_grace=2.0)
ISOLATED = frames.Declared("render", None, None, None, None, {}, True)


@asynccontextmanager
async def a_crew(
    children: Children, *, slots: int = 2, executors: int = 1, limits: Limits = LIMITS
) -> AsyncIterator[tuple[Crew, Notes]]:
    crew = Crew(
        apps=["app"],
        slots=slots,
        executors=executors,
        launch=children.launch,
        limits=limits,
        node=TreeNode("worker"),
        clock=trio.current_time,
    )
    notes = crew.listener = Notes()
    async with trio.open_nursery() as nursery:
        await nursery.start(crew.run)
        crew.set_deadline(trio.current_time() + 10_000)
        yield crew, notes
        nursery.cancel_scope.cancel()


async def settle(seconds: float = 0.1) -> None:
    await trio.sleep(seconds)


async def test_a_batch_reaches_the_one_executor_whole_and_its_outcomes_come_back(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1, 2, 3))
        [run] = children[0].all(frames.Run)
        assert run.ids == [1, 2, 3]
        assert crew.held == 3
        children[0].finish(1, 2)
        children[0].finish(3, kind=Outcome.FAILED, body=b'{"type": "ValueError"}')
        await settle()
        assert notes.ended == {1: Outcome.SUCCEEDED, 2: Outcome.SUCCEEDED, 3: Outcome.FAILED}
        assert notes.reports <= 2  # the first at once, what comes close behind it together
        assert crew.held == 0


async def test_work_is_spread_by_free_room(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children, slots=5, executors=2) as (crew, _):
        assert sorted(child.all(frames.Boot)[0].slots for child in children.all) == [2, 3]
        crew.assign(an_assignment(1, 2, 3, 4, 5))
        assert sorted(len(child.runs) for child in children.all) == [2, 3]


async def test_a_silent_executor_gets_nothing_while_others_answer(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children, slots=10, executors=2) as (crew, _):
        children[0].mute = True
        for task in range(1, 4):
            crew.assign(an_assignment(task, key=bytes([task]) * 16))
        held = [len(child.runs) for child in children.all]
        await settle(1)
        children[1].say(frames.Pong(1, 0, 0.0))
        await settle()
        crew.assign(an_assignment(11, 12, 13, 14, key=b"z" * 16))
        assert [len(child.runs) for child in children.all] == [held[0], held[1] + 4]


async def test_a_death_is_reported_at_once_and_the_executor_is_back_at_once(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1, 2, 3))
        began = trio.current_time()
        children[0].exit(-9)
        await notes.wait_ended(1, 2, 3)
        assert notes.ended == {1: Outcome.CRASHED, 2: Outcome.CRASHED, 3: Outcome.RELEASED}
        assert json.loads(notes.bodies[1])["evidence"] == {"pid": children[0].pid, "signal": "SIGKILL"}
        assert children[0].killed  # with everything that it had started
        await settle()
        assert trio.current_time() - began < 1
        assert len(children) == 2
        crew.assign(an_assignment(4, key=b"n" * 16))
        assert 4 in children[1].runs


async def test_outcomes_that_were_sent_before_the_death_count(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1, 2))
        children[0].finish(1)
        children[0].exit(1)
        await notes.wait_ended(1, 2)
        assert notes.ended == {1: Outcome.SUCCEEDED, 2: Outcome.CRASHED}
        assert json.loads(notes.bodies[2])["evidence"]["exit_code"] == 1


async def test_poison_costs_delays_but_never_the_node(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children, limits=replace(LIMITS, start=100)) as (crew, notes):
        for task in range(12):
            crew.assign(an_assignment(task, key=bytes([task]) * 16))
            while task not in children.all[-1].runs:
                await trio.sleep(0.05)
            children.all[-1].exit(-11)
            await notes.wait_ended(task)
        assert set(notes.ended.values()) == {Outcome.CRASHED}
        assert crew.executors[0].node.restarts_total >= 11


async def test_an_executor_that_dies_without_work_again_and_again_is_given_up(autojump_clock: Any) -> None:
    children = Children()
    with pytest.RaisesGroup(RestartLimitReached, flatten_subgroups=True):
        async with a_crew(children):
            while True:
                await trio.sleep(0.1)
                children.all[-1].exit(1)


async def test_an_app_that_can_not_be_imported_is_said_once(autojump_clock: Any) -> None:
    def broken(number: int) -> FakeChild:
        child = FakeChild(mute=True)
        child.say(frames.Broken("app.py line 3: SyntaxError: invalid syntax"))
        return child

    with pytest.RaisesGroup(ConfigurationError, flatten_subgroups=True) as caught:
        async with a_crew(Children(broken), slots=4, executors=4):
            pytest.fail("it must not start")
    [error] = [leaf for leaf in leaves(caught.value) if isinstance(leaf, ConfigurationError)]
    assert error.problems == ("app.py line 3: SyntaxError: invalid syntax",)


async def test_a_handler_that_ignores_its_cancel_is_killed_after_the_grace(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1, 2))
        await settle()
        began = trio.current_time()
        crew.cancel([1], "cancelled")
        assert children[0].all(frames.Stop) == [frames.Stop([1], "cancelled")]
        await notes.wait_ended(1, 2)
        assert 2.0 <= trio.current_time() - began < 2.2
        assert notes.ended == {1: Outcome.CANCELLED, 2: Outcome.RELEASED}


async def test_what_left_in_time_is_not_killed_by_a_node_that_was_late_itself(autojump_clock: MockClock) -> None:
    """The node stood still over the end of the grace; the outcome waits in the socket."""
    children = Children()
    async with a_crew(children) as (crew, notes):
        for task in range(1, 21):
            crew.assign(an_assignment(task, key=bytes([task]) * 16))
            crew.cancel([task], "cancelled")
            await settle()
            children[0].finish(task, kind=Outcome.CANCELLED)
            autojump_clock.jump(5)
            await notes.wait_ended(task)
        assert not children[0].killed
        assert set(notes.ended.values()) == {Outcome.CANCELLED}


async def test_at_the_end_of_the_lease_the_grace_is_short(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1))
        began = trio.current_time()
        crew.cancel([1], "lease")
        await notes.wait_ended(1)
        assert trio.current_time() - began < 0.7
        assert notes.ended == {1: Outcome.RELEASED}


async def test_an_attempt_beyond_its_timeout_is_killed_after_the_grace(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1, timeout=3000))
        await settle(1)
        children[0].say(frames.Started([1]))
        began = trio.current_time()
        await notes.wait_ended(1)
        assert notes.ended == {1: Outcome.TIMED_OUT}
        assert 5.0 <= trio.current_time() - began < 5.3
        assert [held.task_id for held in notes.begun] == [1]


async def test_a_stalled_executor_is_killed_and_what_ran_in_it_crashed(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        await settle(3)
        children[0].mute = True
        crew.assign(an_assignment(1))
        began = trio.current_time()
        await notes.wait_ended(1)
        assert 30 <= trio.current_time() - began < 33
        assert notes.ended == {1: Outcome.CRASHED}
        assert "silent for 30 s" in json.loads(notes.bodies[1])["evidence"]["trouble"]


async def test_one_that_answers_pings_is_never_stalled(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1))
        await settle(200)
        assert not notes.ended
        assert 190 <= len(children[0].all(frames.Ping)) <= 210


async def test_an_idle_executor_is_hardly_asked_anything(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children):
        await settle(100)
        assert len(children[0].all(frames.Ping)) <= 6


async def test_after_the_lease_a_death_is_no_crash(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1))
        crew.set_deadline(trio.current_time() + 5)
        await settle(6)
        children[0].exit(-14)
        await notes.wait_ended(1)
        assert notes.ended == {1: Outcome.RELEASED}


async def test_each_life_is_told_the_deadline_first(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, _):
        crew.set_deadline(123.0)
        assert children[0].all(frames.Deadline)[0].at is None
        crew.assign(an_assignment(1))
        children[0].exit(-9)
        await settle()
        assert [type(frame) for frame in children[1].got[:2]] == [frames.Boot, frames.Deadline]
        assert children[1].got[1].at == 123.0


async def test_assignments_wait_for_an_executor_and_are_released_in_the_end(autojump_clock: Any) -> None:
    children = Children(lambda number: FakeChild(mute=number == 1))
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1))
        children[0].exit(-9)
        await settle()
        crew.assign(an_assignment(2, key=b"n" * 16))
        assert crew.waiting == 1
        children[1].say(frames.Ready([]))
        await settle()
        assert 2 in children[1].runs
        children[1].exit(-9)
        await notes.wait_ended(1, 2)
        await settle(1)
        children[2].mute = True


async def test_what_waits_too_long_for_an_executor_is_released(autojump_clock: Any) -> None:
    children = Children(lambda number: FakeChild(mute=number >= 1))
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1))
        children[0].exit(-9)
        await settle()
        crew.assign(an_assignment(2, 3, key=b"n" * 16))
        crew.cancel([3], "cancelled")
        await notes.wait_ended(2, 3)
        assert notes.ended == {1: Outcome.CRASHED, 2: Outcome.RELEASED, 3: Outcome.CANCELLED}


async def test_solo_and_isolated_attempts_get_an_executor_that_ends_with_them(autojump_clock: Any) -> None:
    children = Children(lambda number: FakeChild([ISOLATED]))
    async with a_crew(children, slots=2) as (crew, notes):
        crew.assign(an_assignment(1, 2, 3, flags=SOLO))
        crew.assign(an_assignment(4, key=b"n" * 16, name="render"))
        await settle()
        assert len(children) == 3  # one for all, and two at once alone
        assert not children[0].runs
        [first] = [child for child in children.all if 1 in child.runs]
        [second] = [child for child in children.all if 2 in child.runs]
        crew.cancel([3], "cancelled")
        await notes.wait_ended(3)
        first.finish(1)
        second.exit(-11)
        await notes.wait_ended(1, 2)
        assert notes.ended == {1: Outcome.SUCCEEDED, 2: Outcome.CRASHED, 3: Outcome.CANCELLED}
        await settle()
        assert list(children[3].runs) == [4]
        children[3].finish(4)
        await settle()
        assert crew.held == 0
        assert all(child.killed for child in children.all[1:])
        assert not list(crew.solo.executors)


async def test_those_that_run_alone_take_their_slots_from_the_others(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children, slots=2) as (crew, notes):
        crew.assign(an_assignment(1, 2))
        crew.assign(an_assignment(3, key=b"n" * 16, flags=SOLO))
        await settle()
        assert len(children) == 1  # no slot is free
        children[0].finish(1)
        await settle()
        assert list(children[1].runs) == [3]
        crew.assign(an_assignment(4, 5, key=b"o" * 16))
        await settle()
        assert list(children[0].runs) == [2]  # both slots are taken: the others wait
        assert crew.held == 4
        children[0].finish(2)
        await settle()
        assert list(children[0].runs) == [4]
        children[1].finish(3)
        await settle()
        assert list(children[0].runs) == [4, 5]
        children[0].finish(4, 5)
        await notes.wait_ended(1, 2, 3, 4, 5)
        assert set(notes.ended.values()) == {Outcome.SUCCEEDED}
        assert crew.held == 0


async def test_what_waits_for_a_slot_in_vain_goes_back(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children, slots=1) as (crew, notes):
        crew.assign(an_assignment(1, flags=SOLO))
        await settle()
        crew.assign(an_assignment(2, key=b"n" * 16))
        await settle(LIMITS.start + 1)
        assert notes.ended == {2: Outcome.RELEASED}
        assert list(children[1].runs) == [1]


async def test_a_cancelled_attempt_never_reaches_its_solo_executor(autojump_clock: Any) -> None:
    children = Children(lambda number: FakeChild(mute=number == 1))
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1, flags=SOLO))
        await settle()
        crew.cancel([1], "cancelled")
        await notes.wait_ended(1)
        await settle(1)
        assert notes.ended == {1: Outcome.CANCELLED}
        assert children[1].killed


async def test_everything_here_goes_back_when_the_crew_stops(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1, 2, 3))
        crew.assign(an_assignment(4, key=b"n" * 16, flags=SOLO))
        await settle()
    assert notes.ended == dict.fromkeys([1, 2, 3, 4], Outcome.RELEASED)
    assert all(child.killed for child in children.all)


async def test_of_progress_only_the_newest_value_travels(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1))
        await settle(1)
        for done in range(50):
            children[0].say(frames.Progress(1, 1, str(done)))
        await settle(1)
        assert notes.progress[-1] == (1, 1, "49")
        assert len(notes.progress) <= 2


async def test_bytes_that_are_no_frames_end_the_executor(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, notes):
        crew.assign(an_assignment(1))
        children[0].write(b"\x00\x00\x00\x02\xc1\xc1")
        await notes.wait_ended(1)
        assert notes.ended == {1: Outcome.CRASHED}
        assert children[0].killed


async def test_servers_of_attempts_are_known_while_they_serve(autojump_clock: Any) -> None:
    children = Children()
    async with a_crew(children) as (crew, _):
        crew.assign(an_assignment(1))
        children[0].say(frames.Serving(1, 1, "/tmp/1.sock"))
        children[0].say(frames.Serving(2, 1, "/tmp/2.sock"))
        await settle()
        assert crew.executors[0].books.servers == {1: "/tmp/1.sock"}
        children[0].say(frames.Serving(1, 1, ""))
        await settle()
        assert crew.executors[0].books.servers == {}
