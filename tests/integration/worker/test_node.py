"""A whole worker node: real executors, a real link to a scripted coordinator, and its HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from actors.model import link as wire
from actors.model.columns import Outcome, Verdict
from actors.model.errors import ConfigurationError
from actors.model.lease import TEST as TERMS
from actors.runtime.aio import open_loop
from actors.runtime.tree import TreeNode
from api.settings import Settings
from api.worker_node import advertised, run_worker, worker_config
from tests.integration.worker.conftest import APP
from tests.support.worker import an_assignment, kinds
from transport.server import open_grpc_server


@dataclass
class Coordinator:
    """Signs every worker in, renews, commits."""

    hellos: list[wire.Hello] = field(default_factory=list)
    heard: list[type[Any]] = field(default_factory=list)
    ended: dict[int, Outcome] = field(default_factory=dict)
    outgoing: trio.MemorySendChannel[wire.CoordinatorMessage] | None = None
    signed_in: trio.Event = field(default_factory=trio.Event)

    async def serve(self, end: wire.CoordinatorEnd) -> None:
        async for message in end.incoming:
            self.heard.append(type(message))
            match message:
                case wire.Hello():
                    self.hellos.append(message)
                    self.outgoing = end.outgoing
                    await end.outgoing.send(
                        wire.Welcome(session=1, epoch=1, terms=TERMS, coordinators=[], stop=[], resumed=False)
                    )
                case wire.Heartbeat(sequence=sequence):
                    await end.outgoing.send(
                        wire.HeartbeatReply(
                            sequence=sequence,
                            lease=wire.Lease.RENEWED,
                            confirmed=sequence,
                            coordinators=[],
                            database_ok=True,
                            database_age=0.1,
                        )
                    )
                    self.signed_in.set()
                case wire.Report(sequence=sequence, outcomes=outcomes):
                    self.ended |= kinds(outcomes)
                    await end.outgoing.send(wire.Committed(sequence, [Verdict.ACCEPTED] * len(outcomes)))
                case wire.Goodbye():
                    return

    async def assign(self, *ids: int, **more: Any) -> None:
        assert self.outgoing is not None
        await self.outgoing.send(wire.Assign(an_assignment(*ids, **more)))


def settings_of(port: int, **more: Any) -> Settings:
    values: dict[str, Any] = {
        "roles": ("worker",),
        "app": (APP,),
        "http_port": 0,
        "coordinator_addresses": (f"http://127.0.0.1:{port}",),
        "slots": 2,
        "executors": 1,
        "worker_name": "unit",
        "lease": TERMS,
        "cancel_grace": 0.3,
    }
    return Settings(**{**values, **more})


@dataclass
class Node:
    facts: Any
    coordinator: Coordinator
    stopping: trio.Event
    scope: trio.CancelScope
    gone: trio.Event
    http: httpx.AsyncClient


@asynccontextmanager
async def a_node(**settings: Any) -> AsyncIterator[Node]:
    coordinator, stopping, gone = Coordinator(), trio.Event(), trio.Event()
    scope = trio.CancelScope()
    async with open_loop(), open_grpc_server("127.0.0.1", 0, link=coordinator.serve) as port:
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[Any]) -> None:
                with scope:
                    await run_worker(settings_of(port, **settings), TreeNode("node"), stopping, task_status=task_status)
                gone.set()

            with trio.fail_after(15):
                facts = await nursery.start(run)
                await coordinator.signed_in.wait()
                base = f"http://127.0.0.1:{facts['http']}"
                async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
                    yield Node(facts, coordinator, stopping, scope, gone, http)
            scope.cancel()


async def test_it_signs_in_with_its_handlers_and_serves_its_health() -> None:
    async with a_node() as node:
        [hello] = node.coordinator.hellos
        assert hello.worker.id == node.facts["worker"]
        assert hello.worker.id.startswith("unit-")
        assert hello.worker.http_address == f"http://127.0.0.1:{node.facts['http']}"
        assert {"noop", "nap", "who"} <= {one.name for one in hello.worker.handlers}
        while (await node.http.get("/readyz")).status_code != 200:
            await trio.sleep(0.05)
        assert (await node.http.get("/livez")).status_code == 200
        assert (await node.http.get("/healthz")).status_code == 200


async def test_a_stop_lets_a_running_task_finish_and_says_goodbye() -> None:
    async with a_node() as node:
        await node.coordinator.assign(1, name="nap", args=b'{"seconds": 0.7}')
        await trio.sleep(0.2)
        node.stopping.set()
        await node.gone.wait()
        assert node.coordinator.ended == {1: Outcome.SUCCEEDED}
        heard = node.coordinator.heard
        assert heard.index(wire.Draining) < heard.index(wire.Goodbye)


async def test_insisting_releases_what_runs_and_is_quick() -> None:
    async with a_node() as node:
        await node.coordinator.assign(1, name="nap", args=b'{"seconds": 30}')
        await trio.sleep(0.2)
        node.stopping.set()
        await trio.sleep(0.2)
        began = trio.current_time()
        node.scope.cancel()
        await node.gone.wait()
        assert trio.current_time() - began < 3.5
        assert node.coordinator.ended == {1: Outcome.RELEASED}
        assert wire.Goodbye in node.coordinator.heard


async def test_an_operators_drain_ends_the_node() -> None:
    async with a_node() as node:
        assert node.coordinator.outgoing is not None
        await node.coordinator.outgoing.send(wire.Drain("an operator asked this worker to drain"))
        await node.gone.wait()


async def test_an_app_that_can_not_be_imported_is_a_configuration_error(tmp_path: Any) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module_here\n")
    with pytest.RaisesGroup(ConfigurationError, flatten_subgroups=True), trio.fail_after(15):
        await run_worker(settings_of(1, app=(str(broken),)), TreeNode("node"), trio.Event())


async def test_a_stop_before_it_is_ready_ends_it_at_once() -> None:
    stopping = trio.Event()
    stopping.set()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            run = partial(run_worker, settings_of(1), TreeNode("node"), stopping)
            assert await nursery.start(run) == {}


def test_a_worker_on_every_address_leaves_it_to_the_coordinator_to_say_where_it_is() -> None:
    assert advertised(settings_of(1, host="0.0.0.0"), 8090) == "http://0.0.0.0:8090"
    assert advertised(settings_of(1, host="0.0.0.0", advertise="w1.internal"), 8090) == "http://w1.internal:8090"
    assert advertised(settings_of(1, host="::1"), 8090) == "http://[::1]:8090"


def test_beside_a_coordinator_it_connects_to_that_one() -> None:
    settings = settings_of(1, roles=("coordinator", "worker"), host="0.0.0.0")
    assert worker_config(settings, {"grpc": 9000}).addresses == ("http://127.0.0.1:9000",)
    assert worker_config(settings_of(7), {}).addresses == ("http://127.0.0.1:7",)
