"""A queue in which as much waits as may wait takes no more, and says so at once."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from grpclib.const import Status
from trio.testing import MockClock

from actors.model.errors import QueueFull, StorageUnavailable
from actors.model.ports import FullQueues, Submitted
from actors.model.task import NewTask
from actors.scheduler.backlog import LOOK_EVERY, QUEUE_LIMIT, Backlog
from actors.scheduler.intake import Intake
from api.http.problems import problem_of
from transport.status import from_grpc, to_grpc


class Store:
    def __init__(self) -> None:
        self.full = FullQueues()
        self.limits: list[int] = []
        self.away = False
        self.stored = 0

    async def full_queues(self, limit: int) -> FullQueues:
        self.limits.append(limit)
        if self.away:
            raise StorageUnavailable("away")
        return self.full

    async def submit(self, tasks: list[NewTask]) -> list[Submitted]:
        self.stored += len(tasks)
        return [Submitted(number, True) for number, _ in enumerate(tasks)]


def a_task(name: str = "job", queue: str | None = None) -> NewTask:
    return NewTask(name=name, args="{}", queue=queue)


FULL = FullQueues(frozenset({"mail", "default"}), {("send", None): "mail", ("job", None): "default"})


async def test_what_leads_into_a_full_queue_is_refused_and_the_rest_is_not() -> None:
    store: Any = Store()
    backlog = Backlog(store)
    backlog.check([a_task()])
    store.full = FULL
    await backlog.look()
    for refused in (a_task(), a_task("send"), a_task("new", "mail"), a_task("send", "mail")):
        with pytest.raises(QueueFull, match="is full"):
            backlog.check([a_task("fine", "other"), refused])
    backlog.check([a_task("fine", "other"), a_task("job", "other"), a_task("never.seen")])
    assert store.limits == [QUEUE_LIMIT]


async def test_it_is_looked_at_now_and_then_also_while_the_database_is_away(autojump_clock: MockClock) -> None:
    store: Any = Store()
    store.full = FULL
    backlog = Backlog(store, limit=7)
    async with trio.open_nursery() as nursery:
        await nursery.start(backlog.run)
        await trio.sleep(0.1)
        store.away = True
        await trio.sleep(3 * LOOK_EVERY)
        with pytest.raises(QueueFull, match="7 tasks"):
            backlog.check([a_task()])
        store.away, store.full = False, FullQueues()
        await trio.sleep(2 * LOOK_EVERY)
        backlog.check([a_task()])
        nursery.cancel_scope.cancel()
    assert len(store.limits) >= 4


async def test_a_submission_with_a_task_of_a_full_queue_stores_nothing(autojump_clock: MockClock) -> None:
    store: Any = Store()
    store.full = FULL
    intake = Intake(store)
    intake.backlog = Backlog(store)
    await intake.backlog.look()
    async with trio.open_nursery() as nursery:
        await nursery.start(intake.run)
        with pytest.raises(QueueFull):
            await intake.submit([a_task("fine", "other"), a_task()])
        assert store.stored == 0
        await intake.submit([a_task("fine", "other")])
        nursery.cancel_scope.cancel()
    assert store.stored == 1


def test_clients_are_told_to_come_again() -> None:
    problem = problem_of(QueueFull('queue "mail" is full'))
    assert (problem.status, problem.code, problem.headers["Retry-After"]) == (429, "queue_full", "5")
    told = to_grpc(QueueFull("full"))
    assert told.status is Status.RESOURCE_EXHAUSTED
    assert isinstance(from_grpc(told, "there"), QueueFull)
