"""Scheduler, coordinator, health and reflection as others see them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import pytest
import trio
from google.protobuf import descriptor_pb2
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest
from trio_asyncio import aio_as_trio

from actors.model.errors import (
    AccessDenied,
    BadValue,
    ConfigurationError,
    Conflict,
    IdempotencyConflict,
    LinkLost,
    NotFound,
    StorageUnavailable,
)
from actors.model.ports import Submitted, TaskFilter, TaskStore
from actors.model.task import NewTask, Task, TaskState
from actors.model.worker import WorkerView
from protos.generated.callboard import v1 as wire
from tests.support.links import Hub
from transport.calls import fetch_supervision, open_scheduler
from transport.channel import ask, open_channel
from transport.server import open_grpc_server

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
TOKEN = "let-me-in"


def a_task(task_id: int, **changes: Any) -> Task:
    task = Task(
        id=task_id, name="noop", queue="default", state=TaskState.QUEUED, args={"x": 1}, priority=2, attempt=0,
        tries=0, max_tries=4, crashes=0, snoozes=0, undelivered=0, run_at=NOW, created_at=NOW, assigned_at=None,
        started_at=None, finished_at=None, timeout=None, expires_at=None, exclusive=False, retry_on_crash=True,
        worker=None, worker_http=None, result=None, error=None, progress=None, tags=["t"], metadata={"k": "v"},
        retry_of=None, submitted_by=None, cancel_requested_at=None, now=NOW,
    )  # fmt: skip
    return replace(task, **changes)


class Shelf:
    """Tasks in a dict, for calls that need no database."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.submitted: list[NewTask] = []
        self.final = trio.Event()
        self.asked: list[tuple[TaskFilter, int, int | None]] = []
        self.worker = WorkerView(
            id="w-1", name="w", state="live", slots=4, running=1, queues=[], handlers=["noop"], labels={"z": "a"},
            version="1", address=None, connected_at=NOW, last_seen=NOW, health={"link": {"ok": True}},
            coordinator="c", paused=False, drain_requested=False, lease_until=NOW, now=NOW,
        )  # fmt: skip

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        answers: list[Submitted | Exception] = []
        for task in tasks:
            if task.name == "conflict":
                answers.append(IdempotencyConflict("the key was used with another body"))
                continue
            if task.name == "down":
                raise StorageUnavailable("the database does not answer")
            self.submitted.append(task)
            answers.append(Submitted(len(self.submitted), True))
        return answers

    async def get(self, task_id: int) -> Task | None:
        return self.tasks.get(task_id)

    async def wait_final(self, task_id: int) -> None:
        await self.final.wait()
        self.tasks[task_id] = replace(self.tasks[task_id], state=TaskState.SUCCEEDED, result={"y": 2})

    async def find(self, where: TaskFilter, *, limit: int, before_id: int | None) -> list[Task]:
        self.asked.append((where, limit, before_id))
        ids = sorted((one for one in self.tasks if before_id is None or one < before_id), reverse=True)
        return [self.tasks[one] for one in ids[:limit]]

    async def cancel(self, task_id: int) -> str:
        if task_id not in self.tasks:
            raise NotFound(f"there is no task {task_id}")
        return "cancelling"

    async def retry(self, task_id: int, *, submitted_by: str | None) -> int:
        raise Conflict(f"task {task_id} is not final", state="running")

    async def workers(self, *, include_ended: bool = False) -> list[WorkerView]:
        return [self.worker] * (2 if include_ended else 1)

    async def set_worker(self, worker_id: str, *, paused: bool | None = None, drain: bool | None = None) -> WorkerView:
        if worker_id != "w-1":
            raise NotFound(f"there is no worker {worker_id}")
        return replace(self.worker, paused=bool(paused), drain_requested=bool(drain))


TREES: list[dict[str, Any]] = [{"name": "root", "children": [{"name": "links"}]}, {"name": "worker w-1"}]


@asynccontextmanager
async def serving(shelf: Shelf, token: str | None = None, **changes: Any) -> AsyncIterator[str]:
    options: dict[str, Any] = {
        "tasks": cast(TaskStore, shelf),
        "submit": shelf.submit,
        "wait_final": shelf.wait_final,
        "supervision": lambda: TREES,
        "link": Hub(),
        "token": token,
        **changes,
    }
    async with open_grpc_server("127.0.0.1", 0, **options) as port:
        yield f"http://127.0.0.1:{port}"


async def test_submissions_are_answered_one_by_one(loop: None) -> None:
    shelf = Shelf()
    async with serving(shelf) as address, open_scheduler(address) as scheduler:
        answers = await scheduler.submit(
            [
                NewTask(name="a", args='{"x":1}'),
                NewTask(name="b", priority=9),
                NewTask(name="conflict"),
                NewTask(name="c"),
            ]
        )
        first, second, third, fourth = answers
        assert (first, fourth) == (Submitted(1, True), Submitted(2, True))
        assert isinstance(second, BadValue)
        assert "priority" in str(second)
        assert isinstance(third, IdempotencyConflict)
        assert [one.name for one in shelf.submitted] == ["a", "c"]
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await scheduler.submit([NewTask(name="down")])


async def test_a_task_is_held_until_it_is_final(loop: None) -> None:
    shelf = Shelf()
    shelf.tasks[7] = a_task(7)
    async with serving(shelf) as address, open_scheduler(address) as scheduler:
        assert (await scheduler.get(7, wait=0.05))["state"] == "queued"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: _later(shelf.final))
            task = await scheduler.get(7, wait=5)
        assert (task["state"], task["result"], task["args"]) == ("succeeded", {"y": 2}, {"x": 1})
        assert task["metadata"] == {"k": "v"}
        assert task["worker"] is None
        with pytest.raises(NotFound):
            await scheduler.get(8)
        for bad in (-1.0, 61.0):
            with pytest.raises(BadValue, match="wait"):
                await scheduler.get(7, wait=bad)


async def _later(event: trio.Event) -> None:
    await trio.sleep(0.05)
    event.set()


async def test_lists_come_in_pages(loop: None) -> None:
    shelf = Shelf()
    shelf.tasks = {one: a_task(one) for one in range(1, 6)}
    async with serving(shelf) as address, open_scheduler(address) as scheduler:
        items, cursor = await scheduler.list(states=["queued"], limit=3)
        assert [one["id"] for one in items] == [5, 4, 3]
        items, cursor = await scheduler.list(limit=3, cursor=cursor)
        assert ([one["id"] for one in items], cursor) == ([2, 1], "")
        assert shelf.asked[0][0].states == ["queued"]
        with pytest.raises(BadValue, match="limit"):
            await scheduler.list(limit=501)


async def test_a_page_that_would_not_fit_is_shorter(loop: None) -> None:
    shelf = Shelf()
    shelf.tasks = {one: a_task(one, result="x" * 300_000) for one in range(1, 6)}
    async with serving(shelf) as address, open_scheduler(address) as scheduler:
        seen, cursor = [], ""
        while True:
            items, cursor = await scheduler.list(limit=5, cursor=cursor)
            seen += [one["id"] for one in items]
            if not cursor:
                break
        assert seen == [5, 4, 3, 2, 1]


async def test_commands_say_what_the_store_says(loop: None) -> None:
    shelf = Shelf()
    shelf.tasks[1] = a_task(1)
    async with serving(shelf) as address, open_scheduler(address) as scheduler:
        assert await scheduler.cancel(1) == "cancelling"
        with pytest.raises(NotFound):
            await scheduler.cancel(2)
        with pytest.raises(Conflict, match="not final"):
            await scheduler.retry(1)


async def test_workers_are_shown_paused_and_drained(loop: None) -> None:
    async with serving(Shelf()) as address, open_channel(address, 2) as channel:

        async def call(method: str, message: Any, answer: type[Any]) -> Any:
            return await ask(channel, address, f"Coordinator/{method}", message, answer, token=None, limit=2)

        assert len((await call("Workers", wire.WorkersRequest(include_ended=True), wire.WorkersReply)).workers) == 2
        shown = await call("Pause", wire.PauseRequest(worker="w-1", paused=True), wire.Worker)
        assert (shown.state, shown.labels, shown.connected_at) == ("paused", {"z": "a"}, "2030-01-31T12:00:00Z")
        assert (await call("Drain", wire.DrainRequest(worker="w-1"), wire.Worker)).state == "draining"
        with pytest.raises(NotFound):
            await call("Drain", wire.DrainRequest(worker="w-2"), wire.Worker)


async def test_supervision_gives_the_trees(loop: None) -> None:
    async with serving(Shelf(), TOKEN) as address:
        assert await fetch_supervision(address, TOKEN, 2) == TREES
    with pytest.raises(LinkLost):
        await fetch_supervision(address, TOKEN, 2)


async def test_a_tree_that_would_not_fit_is_cut(loop: None) -> None:
    tree = {"name": "root", "children": [{"name": "x" * 2_000_000}]}
    async with serving(Shelf(), supervision=lambda: [tree]) as address:
        assert await fetch_supervision(address, None, 2) == [{"name": "root", "children": [], "cut": True}]


@pytest.mark.parametrize("given", [None, "wrong", TOKEN + "x"])
async def test_the_token_guards_tasks_and_supervision(loop: None, given: str | None) -> None:
    async with serving(Shelf(), TOKEN) as address, open_scheduler(address, given) as scheduler:
        with pytest.raises(AccessDenied, match="CALLBOARD_TOKEN"):
            await scheduler.get(1)
        with pytest.raises(AccessDenied):
            await fetch_supervision(address, given, 2)


# --- as other people's clients do -------------------------------------------------------------------


async def plainly(address: str, talk: Callable[[Channel], Any]) -> Any:
    """Runs asyncio-flavoured calls over a plain channel of grpclib's."""
    port = int(address.rpartition(":")[2])

    async def run() -> Any:
        channel = Channel("127.0.0.1", port)
        try:
            return await talk(channel)
        finally:
            channel.close()

    return await aio_as_trio(run)()


async def test_the_generated_client_speaks_with_us(loop: None) -> None:
    async def talk(channel: Channel) -> wire.SubmitReply:
        stub = wire.SchedulerStub(channel)
        request = wire.SubmitRequest(tasks=[wire.NewTask(name="noop")])
        return await stub.submit(request, metadata={"authorization": f"Bearer {TOKEN}"}, timeout=2)

    async with serving(Shelf(), TOKEN) as address:
        reply = await plainly(address, talk)
        assert [(one.id, one.created) for one in reply.answers] == [(1, True)]


async def test_health_follows_the_node_and_needs_no_token(loop: None) -> None:
    well = [True]

    async def check(channel: Channel, service: str) -> int:
        answer = await HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=2)
        return int(answer.status)

    async with serving(Shelf(), TOKEN, healthy=lambda: well[0]) as address:
        for service in ("", "callboard.v1.WorkerLink", "callboard.v1.Scheduler", "callboard.v1.Coordinator"):
            assert await plainly(address, partial(check, service=service)) == HealthCheckResponse.SERVING
        with pytest.raises(GRPCError) as caught:
            await plainly(address, lambda c: check(c, "callboard.v1.Nothing"))
        assert caught.value.status is Status.NOT_FOUND
        well[0] = False
        with trio.fail_after(3):
            while await plainly(address, lambda c: check(c, "")) != HealthCheckResponse.NOT_SERVING:
                await trio.sleep(0.05)


async def test_reflection_lists_services_and_gives_their_contract(loop: None) -> None:
    async def talk(channel: Channel) -> list[Any]:
        return await ServerReflectionStub(channel).ServerReflectionInfo(
            [
                ServerReflectionRequest(list_services=""),
                ServerReflectionRequest(file_containing_symbol="callboard.v1.WorkerLink"),
                ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
            ],
            timeout=2,
        )

    async with serving(Shelf()) as address:
        listed, contract, health = await plainly(address, talk)
    assert {one.name for one in listed.list_services_response.service} == {
        "callboard.v1.WorkerLink",
        "callboard.v1.Scheduler",
        "callboard.v1.Coordinator",
        "grpc.health.v1.Health",
    }
    [data] = contract.file_descriptor_response.file_descriptor_proto
    file = descriptor_pb2.FileDescriptorProto.FromString(data)
    assert [method.name for method in file.service[0].method] == ["Connect", "FetchPayload", "StoreResult"]
    assert health.file_descriptor_response.file_descriptor_proto


async def test_only_what_the_node_does_is_served(loop: None) -> None:
    async with open_grpc_server("127.0.0.1", 0, link=Hub()) as port:
        address = f"http://127.0.0.1:{port}"
        async with open_scheduler(address) as scheduler:
            with pytest.raises(LinkLost, match="UNIMPLEMENTED"):
                await scheduler.get(1)


async def test_a_call_that_nobody_waits_for_is_cancelled(loop: None) -> None:
    shelf = Shelf()
    shelf.tasks[1] = a_task(1)
    left = trio.Event()

    async def wait_final(task_id: int) -> None:
        try:
            await trio.sleep_forever()
        finally:
            left.set()

    async with serving(shelf, wait_final=wait_final) as address, open_scheduler(address) as scheduler:
        with trio.move_on_after(0.2):
            await scheduler.get(1, wait=30)
        with trio.fail_after(2):
            await left.wait()


# --- addresses --------------------------------------------------------------------------------------


async def test_a_taken_port_is_named(loop: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1 port {port}: another program uses it"):
            async with open_grpc_server("127.0.0.1", port):
                pass


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
async def test_a_host_that_is_not_ours_is_named(loop: None, host: str) -> None:
    with pytest.raises(ConfigurationError, match="--host"):
        async with open_grpc_server(host, 0):
            pass
