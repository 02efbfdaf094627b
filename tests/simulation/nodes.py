"""Nodes: the real actors composed as api/server_node.py and api/worker_node.py compose them, and how they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from actors.coordinator.tree import Coordinator
from actors.model.errors import Conflict
from actors.model.link import CoordinatorEnd
from actors.model.ports import Submitted
from actors.model.task import NewTask
from actors.runtime.supervisor import RestartPolicy, describe, keep_running
from actors.runtime.tree import TreeNode
from actors.scheduler.intake import Intake
from actors.scheduler.janitor import Janitor
from actors.scheduler.tree import run_scheduler
from actors.worker.limits import Limits
from actors.worker.tree import Worker, WorkerConfig
from tests.simulation.database import Client
from tests.simulation.executor import Machine
from tests.simulation.load import DECLARED
from tests.simulation.network import Listener
from tests.simulation.order import within

if TYPE_CHECKING:
    from tests.simulation.world import World

BRANCH = RestartPolicy(intensity=3, period=60)
FLUSH_LIMIT, LINKS_LIMIT = 5.0, 2.0  # seconds, as the product has them
DRAIN, CANCEL_GRACE, FLUSH = 3.0, 1.0, 3.0  # seconds that a worker's stop gives what runs, what is told, what waits
STOP_LIMIT = DRAIN + CANCEL_GRACE + FLUSH + 4.0
SERVER_STOP_LIMIT = FLUSH_LIMIT + LINKS_LIMIT + 2.0
JANITOR = 2.0  # seconds between its rounds


class Node:
    """One process, from its start to its end; a restart is a new life under the same name."""

    def __init__(self, world: World, host: str) -> None:
        self.world, self.host = world, host
        self.lives = 0
        self.life = f"{host}#0"
        self.alive = False
        self.frozen = False
        self.ready = trio.Event()
        self.ended = trio.Event()
        self._scope = trio.CancelScope()

    def start(self) -> None:
        if self.alive:
            return
        self.thaw()  # a new process was never stopped
        self.lives += 1
        self.life = f"{self.host}#{self.lives}"
        self.alive, self.ready, self.ended, self._scope = True, trio.Event(), trio.Event(), trio.CancelScope()
        self.world.network.revive(self.host)
        self.world.timeline.note("start", self.life)
        self.spawn(self._run, self._scope, self.ended, self.life)

    def spawn(self, run: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Starts a task that belongs to this life of the node."""
        within((self.host, self.life), self.world.nursery.start_soon, run, *args)

    async def _run(self, scope: trio.CancelScope, ended: trio.Event, life: str) -> None:
        try:
            with scope:
                await self._live()
        except Exception as error:
            self.world.history.crashes.append(f"{life} ended: {describe(error)}"[:500])
        finally:
            ended.set()
            if self.life == life:
                if self.alive:
                    self.world.timeline.note("end", life)
                self.alive = False

    async def _live(self) -> None:
        raise NotImplementedError

    def crash(self, *, silent: bool = False) -> None:
        """It is gone between two of its steps. `silent`: its whole machine is, and nobody is told."""
        if not self.alive:
            return
        self.world.timeline.note("crash", self.life, "silent" if silent else "")
        self.world.dead.add(self.life)
        self.alive = False
        self._cut_off()
        self.world.network.kill(self.host, silent=silent)
        self.thaw()
        self._scope.cancel("crashed")

    def _cut_off(self) -> None: ...

    def freeze(self) -> None:
        self.frozen = True
        self.world.freezer.freeze(self.host)

    def thaw(self) -> None:
        self.frozen = False
        self.world.freezer.thaw(self.host)

    def stop(self) -> None:
        """As SIGTERM asks."""
        raise NotImplementedError


class ServerNode(Node):
    """Scheduler and, with an address, coordinator."""

    def __init__(self, world: World, host: str, *, coordinates: bool = True) -> None:
        super().__init__(world, host)
        self.coordinates, self.address = coordinates, f"http://{host}:1"
        self.intake: Intake | None = None
        self.coordinator: Coordinator | None = None
        self._client: Client | None = None
        self._stopping = trio.Event()
        self._serving: dict[trio.CancelScope, None] = {}  # requests and links
        self._links: dict[int, None] = {}  # of this life
        self._left = trio.Event()

    async def _live(self) -> None:
        world = self.world
        client = self._client = Client(world.database, self.host, world.dice.stream(f"client {self.life}"))
        self._stopping, self.coordinator, self._links = trio.Event(), None, {}
        root = TreeNode("node", "supervisor")
        intake = self.intake = Intake(client.tasks)
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as inner:
                janitor = Janitor(client.tasks, period=JANITOR)
                await inner.start(run_scheduler, intake, janitor, root.child("scheduler", "supervisor"))
                if self.coordinates:
                    await self._coordinate(inner, client, root)
                self.ready.set()
                await self._stopping.wait()
                asked = trio.current_time()
                self._listen(None)
                if self.coordinator is not None:
                    await self.coordinator.stop(FLUSH_LIMIT)
                inner.cancel_scope.cancel("stopping")
            await self._end_links()
            outer.cancel_scope.cancel("stopping")
        world.history.stops.append((self.life, asked, trio.current_time(), SERVER_STOP_LIMIT))

    async def _coordinate(self, nursery: trio.Nursery, client: Client, root: TreeNode) -> None:
        wakeups = self.world.wakeups[self.host]
        wakeups.clear()
        coordinator = Coordinator(
            coordinator_id=self.life,
            address=self.address,
            version="1",
            store=client.dispatch,
            wakeups=wakeups,
            terms=self.world.terms,
            token=None,
            node=root.child("coordinator", "supervisor"),
        )
        await nursery.start(partial(keep_running, "coordinator", coordinator.run, BRANCH, node=coordinator.node))
        self.coordinator = coordinator
        assert self.intake is not None
        self.intake.express = coordinator.express.submit
        self._listen(coordinator)

    def _listen(self, coordinator: Coordinator | None) -> None:
        listeners = self.world.network.listeners
        listeners.pop(self.address, None)
        if coordinator is not None:
            links = self._links

            async def serve(end: CoordinatorEnd) -> None:
                links[id(end)] = None
                try:
                    await coordinator.serve_link(end)
                finally:
                    del links[id(end)]
                    self._left.set()

            listeners[self.address] = Listener(self.host, lambda run: self.spawn(self.while_alive, run), serve)

    def _kick(self) -> None:
        for own in list(self._serving):
            own.cancel("the server has ended")

    async def _end_links(self) -> None:
        """As the gRPC server does: actors read what has arrived and leave, within a limit."""
        for connection in list(self.world.network.connections):
            if connection.server == self.host:
                connection.up.hang_up()
        with trio.move_on_after(LINKS_LIMIT, shield=True):
            while self._links:
                self._left = trio.Event()
                await self._left.wait()
        self._kick()

    def _cut_off(self) -> None:
        if self._client is not None:
            self._client.dead = True
        self._kick()

    def stop(self) -> None:
        self._stopping.set()

    async def submit(self, tasks: list[NewTask]) -> list[Submitted | Exception]:
        """What the api asks the intake, in a task of the node; never answered by a node that is gone."""
        intake = self.intake
        assert intake is not None
        return await intake.submit(tasks)

    async def cancel(self, task: int) -> str:
        assert self._client is not None
        try:
            return await self._client.tasks.cancel(task)
        except Conflict:
            return "final"

    async def while_alive(self, call: Callable[[], Awaitable[None]]) -> None:
        """A request that it serves ends with it."""
        scope = self._scope
        with trio.CancelScope() as own:
            if scope.cancel_called:
                return
            self._serving[own] = None
            try:
                await call()
            finally:
                del self._serving[own]


class WorkerNode(Node):
    """A worker with simulated executors."""

    def __init__(self, world: World, host: str, *, slots: int, executors: int) -> None:
        super().__init__(world, host)
        self.slots, self.executors = slots, executors
        self.worker: Worker | None = None
        self.machine: Machine | None = None
        self.machines: list[Machine] = []
        self.addresses = list(world.addresses)

    async def _live(self) -> None:
        world = self.world
        dice = world.dice.stream(f"machine {self.life}")
        machine = self.machine = Machine(
            timeline=world.timeline,
            history=world.history,
            freezer=world.freezer,
            nursery=world.nursery,
            node=self.host,
            life=self.life,
            slots=self.slots,
            import_time=lambda: dice.uniform(0.05, 0.3),
            clock_ahead=dice.uniform(0.0, 1e6),
            declared=DECLARED,
        )
        self.machines.append(machine)
        terms = world.terms
        addresses = dice.some(self.addresses, len(self.addresses))
        config = WorkerConfig(
            id=self.life,
            name=self.host,
            apps=["app"],
            slots=self.slots,
            executors=self.executors,
            addresses=addresses,
            terms=terms,
            limits=Limits(
                cancel_grace=CANCEL_GRACE, lease_grace=min(CANCEL_GRACE, terms.margin / 3), stop_after=terms.margin / 3,
                stall=3.0, start=2.0,
            ),
            drain=DRAIN,
            flush=FLUSH,
        )  # fmt: skip
        self.worker = Worker(
            config, launch=machine.launch, dial=world.network.dialler(self.host), node=TreeNode("node"),
            clock=lambda: trio.current_time() + machine.clock_ahead,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            await nursery.start(self.worker.run)
            self.ready.set()
        self._after_end(machine)

    def _after_end(self, machine: Machine) -> None:
        """Its lifelines end with the node."""
        self.world.timeline.after(self.world.dice.uniform(0.0, 0.005), machine.kill_all)

    def _cut_off(self) -> None:
        machine = self.machine
        self.world.history.deaths.append((self.life, trio.current_time()))
        self.world.forget_reports(self.host)
        if machine is not None:
            self.world.freezer.thaw(f"{self.host}/*")
            self._after_end(machine)

    def freeze_all(self) -> None:
        """The executors with it."""
        self.freeze()
        self.world.freezer.freeze(f"{self.host}/*")

    def thaw(self) -> None:
        super().thaw()
        self.world.freezer.thaw(f"{self.host}/*")
        if self.machine is not None:
            for child in self.machine.children:
                child.catch_up()

    def stop(self) -> None:
        if self.worker is not None and self.alive and self.ready.is_set():
            self.spawn(self._drain, self.worker, self.life, self.ended)
        else:
            self._scope.cancel("stopped before it was ready")

    async def _drain(self, worker: Worker, life: str, ended: trio.Event) -> None:
        asked = trio.current_time()
        scope = self._scope
        await worker.drain(DRAIN, CANCEL_GRACE)
        await ended.wait()
        if not scope.cancel_called:
            self.world.history.stops.append((life, asked, trio.current_time(), STOP_LIMIT))
