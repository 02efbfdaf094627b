"""Group commit: who shares a transaction, who is told what, and what a crash leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.model.errors import ActorCrashed, BadValue, StorageUnavailable
from actors.model.ports import Submitted
from actors.model.task import NewTask
from actors.runtime.supervisor import RestartPolicy, keep_running
from actors.scheduler.intake import Answers, Intake

ONE = NewTask(name="one")


class Store:
    """Keeps each group; `gate` holds a transaction open."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.bound: list[list[str | None]] = []
        self.gate = trio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.next = 1

    async def submit(self, tasks: Sequence[NewTask]) -> Answers:
        self.groups.append(len(tasks))
        await self.gate.wait()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        first, self.next = self.next, self.next + len(tasks)
        return [Submitted(number, True) for number in range(first, self.next)]

    async def submit_bound(self, tasks: Sequence[NewTask]) -> Answers:
        self.bound.append([task.unique_key for task in tasks])
        if any(task.unique_key == "bad" for task in tasks):
            raise BadValue("unique_key", "bad")
        return [Submitted(0, False) for _ in tasks]


class Desk:
    """An intake over such a store."""

    def __init__(self) -> None:
        self.store = Store()
        self.intake = Intake(self.store)  # type: ignore[arg-type]  # what it uses
        self.answers: list[object] = []

    async def submit(self, tasks: Sequence[NewTask]) -> None:
        try:
            self.answers.append(await self.intake.submit(tasks))
        except Exception as error:
            self.answers.append(error)


@pytest.fixture
async def desk(mock_clock: MockClock) -> AsyncIterator[Desk]:
    opened = Desk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running, "intake", opened.intake.run, RestartPolicy())
        yield opened
        nursery.cancel_scope.cancel()


async def test_what_arrives_during_a_commit_is_one_group(desk: Desk) -> None:
    desk.store.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.submit, [ONE])
        await wait_all_tasks_blocked()
        for _ in range(5):
            nursery.start_soon(desk.submit, [ONE, ONE])
        await wait_all_tasks_blocked()
        desk.store.gate.set()
    assert desk.store.groups == [1, 10]
    ids = sorted(one.id for answer in desk.answers for one in answer)  # type: ignore[attr-defined]
    assert ids == list(range(1, 12))


async def test_each_is_answered_with_its_own(desk: Desk) -> None:
    await desk.submit([ONE, ONE])
    await desk.submit([ONE])
    assert desk.answers == [[Submitted(1, True), Submitted(2, True)], [Submitted(3, True)]]


async def test_an_absent_database_is_told_to_everybody_in_the_group_and_costs_no_restart(desk: Desk) -> None:
    desk.store.fault = StorageUnavailable("gone")
    await desk.submit([ONE])
    await desk.submit([ONE])
    assert isinstance(desk.answers[0], StorageUnavailable)
    assert desk.answers[1] == [Submitted(1, True)]


async def test_a_crash_is_told_to_the_asker_and_the_next_incarnation_goes_on(
    desk: Desk, autojump_clock: MockClock
) -> None:
    desk.store.fault = RuntimeError("a bug")
    await desk.submit([ONE])
    await desk.submit([ONE])
    assert isinstance(desk.answers[0], ActorCrashed)
    assert desk.answers[1] == [Submitted(1, True)]


async def test_a_flood_is_refused_at_once(desk: Desk) -> None:
    desk.store.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(Intake.CAPACITY + 1_200):  # up to 1,000 are taken out of it as one group
            nursery.start_soon(desk.submit, [ONE])
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        refused = [answer for answer in desk.answers if isinstance(answer, StorageUnavailable)]
        assert refused
        desk.store.gate.set()


async def test_a_coordinator_at_hand_is_asked_first(desk: Desk) -> None:
    async def express(tasks: Sequence[NewTask]) -> Answers | None:
        await trio.lowlevel.checkpoint()
        return [Submitted(77, True)] if len(tasks) == 1 else None

    desk.intake.express = express
    await desk.submit([ONE])
    await desk.submit([ONE, ONE])
    assert desk.answers[0] == [Submitted(77, True)]
    assert desk.store.groups == [2]


async def test_bound_submissions_share_a_transaction_of_their_own_until_one_of_them_is_wrong(desk: Desk) -> None:
    desk.store.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.submit, [ONE])
        await wait_all_tasks_blocked()
        for tasks in ([ONE], [replace(ONE, unique_key="a"), ONE], [replace(ONE, unique_key="bad")]):
            nursery.start_soon(desk.submit, tasks)
            await wait_all_tasks_blocked()
        desk.store.gate.set()
    assert desk.store.groups == [1, 1]
    assert desk.store.bound == [["a", None, "bad"], ["a", None], ["bad"]]
    told = [len(one) if isinstance(one, list) else str(one) for one in desk.answers]
    assert sorted(map(str, told)) == ["1", "1", "2", "unique_key: bad"]
