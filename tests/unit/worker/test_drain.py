"""How a worker leaves, and what it says of itself meanwhile; in virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from actors.model import link as wire
from actors.model.columns import Outcome, Verdict
from actors.model.lease import FAST as TERMS
from actors.runtime.tree import TreeNode
from actors.worker.limits import Limits
from actors.worker.tree import Worker, WorkerConfig
from callboard.executor import frames
from tests.support.worker import Children, FakeChild, FakeCoordinator, FakeStream, an_assignment, kinds

NOOP = frames.Declared("noop", "q", 3, None, None, {}, False)


@dataclass
class Bench:
    """A worker, and a coordinator that renews and commits everything."""

    worker: Worker
    children: Children
    stream: FakeStream
    hello: wire.Hello
    ended: dict[int, Outcome] = field(default_factory=dict)
    heard: list[type[Any]] = field(default_factory=list)
    lease: wire.Lease | None = wire.Lease.RENEWED
    commits: bool = True
    gone: trio.Event = field(default_factory=trio.Event)

    async def coordinate(self) -> None:
        async for message in self.stream.incoming:
            self.heard.append(type(message))
            match message:
                case wire.Heartbeat() if self.lease is not None:
                    self.stream.reply(message, self.lease)
                case wire.Report() if self.commits:
                    self.ended |= kinds(message.outcomes)
                    self.stream.say(wire.Committed(message.sequence, [Verdict.ACCEPTED] * len(message.outcomes)))
                case wire.Goodbye():
                    self.stream.close()

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> None:
        await self.worker.run(task_status=task_status)
        self.gone.set()

    async def assign(self, *ids: int, key: bytes = b"k" * 16) -> None:
        self.stream.say(wire.Assign(an_assignment(*ids, key=key)))
        while not set(ids) <= {task for child in self.children.all for task in child.runs}:
            await trio.sleep(0.01)


@asynccontextmanager
async def a_worker(*, slots: int = 4, executors: int = 2) -> AsyncIterator[Bench]:
    coordinator, children = FakeCoordinator(TERMS), Children(lambda number: FakeChild([NOOP]))
    config = WorkerConfig(
        id="w-123456",
        name="w",
        apps=["app"],
        slots=slots,
        executors=executors,
        addresses=["http://a:1"],
        terms=TERMS,
        limits=Limits(cancel_grace=2.0),
        drain=5.0,
    )
    worker = Worker(
        config, launch=children.launch, dial=coordinator.dial, node=TreeNode("worker"), clock=trio.current_time
    )
    bench = Bench(worker, children, None, None)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.run)
        bench.stream = await coordinator.accept()
        bench.hello = await bench.stream.welcome()
        nursery.start_soon(bench.coordinate)
        await trio.sleep(0.1)
        yield bench
        nursery.cancel_scope.cancel()


async def test_the_link_starts_when_the_handlers_are_known(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        assert [(one.name, one.queue, one.max_tries) for one in bench.hello.worker.handlers] == [("noop", "q", 3)]
        assert bench.worker.secret_hash() == hashlib.sha256(bench.hello.secret).digest()
        tree = bench.worker.tree()
        assert [child["name"] for child in tree["children"]] == ["executor 1", "executor 2", "link"]
        assert {child["state"] for child in tree["children"]} == {"running"}


async def test_an_idle_worker_leaves_at_once(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        began = trio.current_time()
        await bench.worker.drain(30, 5)
        await bench.gone.wait()
        assert trio.current_time() - began < 0.5
        assert bench.heard.index(wire.Draining) < bench.heard.index(wire.Goodbye)
        assert all(child.all(frames.Leave) for child in bench.children.all)


async def test_what_runs_may_finish_what_waits_goes_back_and_heartbeats_go_on(autojump_clock: Any) -> None:
    async with a_worker(slots=2, executors=1) as bench:
        await bench.assign(1, 2, 3)
        began, beats = trio.current_time(), bench.heard.count(wire.Heartbeat)
        [child] = bench.children.all
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.worker.drain, 30, 5)
            await trio.sleep(0.1)
            assert child.all(frames.Stop) == [frames.Stop([3], "drain")]
            child.finish(3, kind=Outcome.RELEASED)
            assert bench.worker.ready() == (False, "draining: nothing new is taken")
            await trio.sleep(10)
            child.finish(1, 2)
        assert bench.ended == {1: Outcome.SUCCEEDED, 2: Outcome.SUCCEEDED, 3: Outcome.RELEASED}
        assert trio.current_time() - began < 11
        assert bench.heard.count(wire.Heartbeat) >= beats + 8


async def test_what_does_not_finish_is_stopped_then_killed_and_released(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        await bench.assign(1, 2)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.worker.drain, 3, 1)
            await trio.sleep(3.1)
            assert {frame.reason for child in bench.children.all for frame in child.all(frames.Stop)} == {"drain"}
        assert 4 <= trio.current_time() - began < 4.7
        assert bench.ended == {1: Outcome.RELEASED, 2: Outcome.RELEASED}


async def test_insisting_ends_the_waiting(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        await bench.assign(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.worker.drain, 30, 5)
            await trio.sleep(1)
            began = trio.current_time()
            bench.worker.insist()
        assert trio.current_time() - began < 1.5
        assert bench.ended == {1: Outcome.RELEASED}
        assert wire.Goodbye in bench.heard


async def test_outcomes_that_nobody_acknowledges_hold_up_the_end_for_a_while_only(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        await bench.assign(1)
        bench.commits = False
        next(child for child in bench.children.all if child.runs).finish(1)
        await trio.sleep(0.1)
        began = trio.current_time()
        await bench.worker.drain(30, 5)
        assert 9 < trio.current_time() - began < 12


async def test_an_operators_drain_ends_the_worker(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        bench.stream.say(wire.Drain("an operator asked this worker to drain"))
        with trio.fail_after(2):
            await bench.gone.wait()
        assert wire.Goodbye in bench.heard


async def test_the_four_checks_say_what_is_true(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        worker = bench.worker
        await trio.sleep(1.5)
        assert {name: one["status"] for name, one in worker.checks().items()} == {
            "coordinator_connection": "ok",
            "task_processing_status": "ok",
            "database_connection": "ok",
            "server_status": "unknown",
        }
        assert worker.ready() == (True, "takes work")
        worker.facts.server(True, "listens on 127.0.0.1:8090")
        bench.lease = wire.Lease.FROZEN
        await trio.sleep(2)
        checks = worker.checks()
        assert checks["coordinator_connection"]["status"] == "ok"
        assert checks["database_connection"]["status"] == "failed"
        assert checks["server_status"]["status"] == "ok"
        assert worker.ready()[0] is False
        assert "frozen" in worker.ready()[1]


async def test_a_deaf_worker_is_not_ready_and_says_so_to_those_who_can_hear_it(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        await trio.sleep(1.5)
        bench.lease = None
        await trio.sleep(TERMS.silence * 0.6)
        ready, why = bench.worker.ready()
        assert not ready
        assert "deaf" in why
        assert bench.worker.facts.health()["deaf"] is True
        await trio.sleep(TERMS.silence)
        assert bench.worker.checks()["coordinator_connection"]["status"] == "failed"


async def test_executors_that_do_not_answer_are_no_processing(autojump_clock: Any) -> None:
    async with a_worker() as bench:
        await bench.assign(1, 2)
        for child in bench.children.all:
            child.mute = True
        await trio.sleep(8)
        check = bench.worker.checks()["task_processing_status"]
        assert check["status"] == "failed"
        assert "no executor answers" in check["detail"]
        assert not bench.worker.ready()[0]


async def test_what_runs_here_is_listed_with_its_state(autojump_clock: Any) -> None:
    async with a_worker(executors=1) as bench:
        await bench.assign(1, 2)
        await trio.sleep(1)
        bench.children[0].say(frames.Started([1]))
        bench.children[0].say(frames.Serving(1, 1, "/run/1.sock"))
        await trio.sleep(0.5)
        first, second = sorted(bench.worker.running(), key=lambda one: one["id"])
        assert (first["state"], first["serving"], first["name"]) == ("running", True, "noop")
        assert 0.4 < first["since"] < 0.7
        assert (second["state"], second["serving"]) == ("queued", False)
        assert bench.worker.server_of(1) == (1, "/run/1.sock")
        assert bench.worker.server_of(2) is None
