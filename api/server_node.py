"""A server node: storage, scheduler, coordinator, gRPC and HTTP, each under its supervisor."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import trio

from actors.coordinator.tree import Coordinator
from actors.model.errors import LinkError, StorageRefused, StorageUnavailable
from actors.model.link import CoordinatorEnd
from actors.model.queue import Retention
from actors.runtime.aio import open_loop
from actors.runtime.process_mark import this_process
from actors.runtime.supervisor import RestartPolicy, Run, keep_running
from actors.runtime.tree import TreeNode
from actors.scheduler.backlog import Backlog
from actors.scheduler.cron import Cron
from actors.scheduler.intake import Intake
from actors.scheduler.janitor import Janitor
from actors.scheduler.resolver import Resolver
from actors.scheduler.statistics import Statistics
from actors.scheduler.tree import run_intake, run_scheduler
from api.http.app import create_app
from api.http.serve import LIFESPAN_LIMIT, Grace, serve_http
from api.http.services import Services
from api.server_health import ServerHealth
from api.settings import Settings
from api.stop_budget import COORDINATOR_FLUSH, notice, requests
from callboard import __version__
from storage.doctor import examine_server, refuse
from storage.migrate import migrate, pending
from storage.store import Store, open_store
from storage.url import parse_url
from transport.calls import fetch_supervision
from transport.server import open_grpc_server

log = logging.getLogger(__name__)

BRANCH = RestartPolicy(intensity=3, period=60)
TREES_LIMIT = 2.0  # seconds that another coordinator gets to tell its tree


class ServerNode:
    """One process with any of the roles scheduler, coordinator, api. Nesting is the start order."""

    def __init__(self, settings: Settings, root: TreeNode, store: Store) -> None:
        assert settings.database_url is not None
        self.settings, self.root, self.store = settings, root, store
        self.id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.intake = Intake(store.tasks)
        self.intake.backlog = backlog = Backlog(store.tasks)
        self._watch_backlog = backlog.run
        self.health = ServerHealth(store, settings.lease)
        self.stopping = trio.Event()
        self.services = Services(
            settings=settings,
            store=store.tasks,
            schedules=store.schedules,
            workflows=store.workflows,
            queues=store.queues,
            explain=store.explain,
            bulk=store.bulk,
            submit=self.intake.submit,
            wakeups=store.notifier,
            supervision=self.supervision,
            checks=self.health.checks,
            ready=self.health.ready,
            metrics=self.health.metrics,
            stopping=self.stopping,
        )
        self.ports: dict[str, int] = {}
        self._coordinator: Coordinator | None = None
        self._there = trio.Event()  # the coordinator exists
        self._front, self._front_gone = trio.CancelScope(), trio.Event()  # the HTTP server
        self._grace = Grace()

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[Mapping[str, Any]]) -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(self._hurry_when_cancelled)
            storage = self.root.child("storage", "supervisor")
            await self._keep(outer, storage, "listener", self.store.notifier.run)
            await self._keep(outer, storage, "probe", self.health.run)
            storage.enter("running")
            self.ports["http"] = await outer.start(self._keep_front)
            if not await self._prepared(stopping):
                task_status.started({})  # stopped before it was ready
                outer.cancel_scope.cancel("stopping")
                return
            async with trio.open_nursery() as inner:
                await self._start_actors(inner)
                self.health.started = True
                task_status.started(self.facts())
                await stopping.wait()
                self.health.stopping = True
                self.stopping.set()
                await self._leave()
                inner.cancel_scope.cancel("stopping")
            outer.cancel_scope.cancel("stopping")

    async def _leave(self) -> None:
        """Requests may end while the intake still commits them, and workers' outcomes beside."""
        async with trio.open_nursery() as nursery:
            if self._coordinator is not None:
                nursery.start_soon(self._coordinator.stop, COORDINATOR_FLUSH)
            if self.settings.has("api"):
                await trio.sleep(notice(self.settings.drain))
                self._grace.seconds = requests(self.settings.drain)
            self._front.cancel("stopping")
            with trio.move_on_after(self._grace.seconds + LIFESPAN_LIMIT):
                await self._front_gone.wait()

    async def _keep_front(self, *, task_status: trio.TaskStatus[int]) -> None:
        node = self.root.child("http server")
        with self._front:
            await keep_running("http server", self._serve_http, BRANCH, node=node, task_status=task_status)
        self._front_gone.set()

    async def _hurry_when_cancelled(self) -> None:
        """A second signal: nobody is waited for any more."""
        try:
            await trio.sleep_forever()
        finally:
            self._grace.hurry()

    def facts(self) -> dict[str, Any]:
        """What the ready line says."""
        return {"node": self.id, "roles": list(self.settings.roles), **self.ports}

    async def _keep(self, nursery: trio.Nursery, parent: TreeNode, name: str, run: Run) -> Any:
        return await nursery.start(partial(keep_running, name, run, BRANCH, node=parent.child(name)))

    async def _prepared(self, stopping: trio.Event) -> bool:
        """Whether the database was ready before somebody asked to stop."""
        ready = False
        async with trio.open_nursery() as nursery:

            async def prepare() -> None:
                nonlocal ready
                await self._prepare_database()
                ready = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(prepare)
            await stopping.wait()
            nursery.cancel_scope.cancel("stopping")
        return ready

    async def _prepare_database(self) -> None:
        """Examines the server, applies or checks the migrations; waits for a database that is away.

        Raises StorageRefused.
        """
        assert self.settings.database_url is not None
        url, delay = parse_url(self.settings.database_url), 0.2
        while True:
            try:
                findings = await examine_server(url)
                refuse(findings)
                for finding in findings:
                    if finding.status == "warning":
                        log.warning("the database: %s", finding)
                if self.settings.migrate:
                    for one in await migrate(url):
                        log.info("applied migration %04d_%s", one.number, one.name)
                else:
                    await require_schema(url)
                return
            except StorageUnavailable as error:
                log.warning("waiting for the database: %s", error)
                await trio.sleep(delay)
                delay = min(2.0, delay * 2)

    async def _start_actors(self, nursery: trio.Nursery) -> None:
        scheduler = self.root.child("scheduler", "supervisor")
        if self.settings.has("scheduler"):
            cron = self.health.cron = Cron(self.store.schedules, self.store.notifier)
            janitor = Janitor(self.store.tasks)
            resolver = Resolver(self.store.tasks, self.store.notifier)
            statistics = Statistics(self.store.tasks, self.store.notifier)
            start = partial(
                run_scheduler, self.intake, janitor, scheduler, cron=cron, resolver=resolver, statistics=statistics
            )
            await nursery.start(start)
        else:
            await nursery.start(run_intake, self.intake, scheduler)
        await self._keep(nursery, scheduler, "backlog", self._watch_backlog)
        scheduler.enter("running")
        self.ports["grpc"] = await self._keep(nursery, self.root, "grpc server", self._serve_grpc)
        if self.settings.has("coordinator"):
            coordinator = self._make_coordinator(self.ports["grpc"])
            await nursery.start(partial(keep_running, "coordinator", coordinator.run, BRANCH, node=coordinator.node))
            self._coordinator = self.health.coordinator = coordinator
            self.intake.express = coordinator.express.submit
            self._there.set()

    def _make_coordinator(self, port: int) -> Coordinator:
        host = self.settings.advertised_host
        return Coordinator(
            coordinator_id=self.id,
            address=f"http://{f'[{host}]' if ':' in host else host}:{port}",
            version=__version__,
            store=self.store.dispatch,
            wakeups=self.store.notifier,
            terms=self.settings.lease,
            token=self.settings.token,
            node=self.root.child("coordinator", "supervisor"),
        )

    # --- servers ----------------------------------------------------------------------------------

    async def _serve_http(self, *, task_status: trio.TaskStatus[int]) -> None:
        port = self.ports.get("http") or self.settings.http_port
        await serve_http(
            create_app(self.services),
            host=self.settings.host,
            port=port,
            name=" and ".join(self.settings.roles),
            grace=self._grace,
            task_status=task_status,
        )

    async def _serve_grpc(self, *, task_status: trio.TaskStatus[int]) -> None:
        async with open_grpc_server(
            host=self.settings.host,
            port=self.ports.get("grpc") or self.settings.grpc_port,
            link=self.serve_link if self.settings.has("coordinator") else None,
            tasks=self.store.tasks,
            submit=self.intake.submit,
            wait_final=self.wait_final,
            schedules=self.store.schedules,
            queues=self.store.queues,
            supervision=lambda: [self.own_tree()],
            healthy=lambda: self.health.ready()[0],
            token=self.settings.token,
        ) as port:
            task_status.started(port)
            await trio.sleep_forever()

    async def wait_final(self, task_id: int) -> None:
        """Until the task is final, or gone."""
        with self.services.waiters.waiting_for(task_id) as final:
            await final.wait()

    async def serve_link(self, end: CoordinatorEnd) -> None:
        """Links wait until the coordinator exists: its address names the port that is bound first."""
        await self._there.wait()
        assert self._coordinator is not None
        await self._coordinator.serve_link(end)

    # --- the tree ---------------------------------------------------------------------------------

    def own_tree(self) -> dict[str, Any]:
        """This node's tree, its lease terms and its process, with the trees of the workers that are linked here."""
        if self._coordinator is not None:
            self._coordinator.node.remote = self._coordinator.sessions.trees()
        return {
            **self.root.as_json(),
            "name": f"server {self.id}",
            "id": self.id,
            "roles": list(self.settings.roles),
            "lease": asdict(self.settings.lease),
            **this_process(),
        }

    async def supervision(self) -> list[dict[str, Any]]:
        """This node's tree, and those of all other live coordinators."""
        trees = [self.own_tree()]
        others = [one for one in await self.store.tasks.coordinators() if one.alive and one.id != self.id]

        async def ask(address: str) -> None:
            try:
                trees.extend(await fetch_supervision(address, self.settings.token, TREES_LIMIT))
            except LinkError as error:
                trees.append({"name": f"server at {address}", "state": "unreachable", "last_error": str(error)})

        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(ask, other.address)
        return trees


async def require_schema(url: Any) -> None:
    """Raises StorageRefused when migrations are pending and this node may not apply them."""
    lacking = await pending(url)
    if lacking:
        names = ", ".join(f"{one.number:04}_{one.name}" for one in lacking)
        raise StorageRefused(f"the database lacks migrations {names}: run `callboard db migrate`")


async def run_server(
    settings: Settings,
    root: TreeNode,
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[Mapping[str, Any]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs the server roles until `stopping`; started with the ports it bound."""
    assert settings.database_url is not None
    async with (
        open_loop(),
        open_store(
            settings.database_url,
            default_timeout=settings.default_timeout,
            ageing=settings.priority_ageing,
            retention=Retention(settings.keep_succeeded, settings.keep_unsuccessful, settings.keep_idempotency_keys),
            direct_url=settings.direct_url,
        ) as store,
    ):
        await ServerNode(settings, root, store).run(stopping, task_status=task_status)
