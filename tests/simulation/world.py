"""A whole system in one process: schedulers, coordinators, workers, a store and a network, under a virtual clock."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import trio

from actors.model import link as wire
from actors.model.columns import Outcomes
from actors.model.lease import LeaseTerms
from actors.runtime.supervisor import describe
from tests.simulation.backing import Backing
from tests.simulation.database import HOST, Database
from tests.simulation.dice import Dice
from tests.simulation.facts import Expect, Facts
from tests.simulation.history import History, Verdict
from tests.simulation.load import Clients, Mix
from tests.simulation.network import Network
from tests.simulation.nodes import Node, ServerNode, WorkerNode
from tests.simulation.order import Freezer, place
from tests.simulation.rest import unsettled
from tests.simulation.timeline import Timeline

TOPICS = ("due", "wishes", "final")
LOOK_EVERY = 0.25  # seconds between looks whether everything is final


class Wakeups:
    """Hints of one node."""

    def __init__(self) -> None:
        self._subscribers: dict[str, list[trio.MemorySendChannel[None]]] = {}

    def clear(self) -> None:
        self._subscribers.clear()

    def subscribe(self, topic: str) -> trio.MemoryReceiveChannel[None]:
        send, receive = trio.open_memory_channel[None](1)
        self._subscribers.setdefault(topic, []).append(send)
        return receive

    def notify(self, topic: str) -> None:
        for channel in self._subscribers.get(topic, ()):
            try:
                channel.send_nowait(None)
            except (trio.WouldBlock, trio.BrokenResourceError):
                pass


class World:
    """Everything of one run."""

    def __init__(
        self,
        seed: int,
        nursery: trio.Nursery,
        mix: Mix,
        terms: LeaseTerms,
        *,
        servers: int = 2,
        schedulers: int = 0,
        workers: int = 3,
    ) -> None:
        self.seed, self.nursery, self.mix, self.terms = seed, nursery, mix, terms
        self.dice = Dice(seed)
        self.load_dice = self.dice.stream("load")
        self.timeline = Timeline()
        self.history = History(self.timeline)
        self.freezer = Freezer()
        self.network = Network(self.timeline, self.dice.stream("network"))
        self.backing = Backing(self.dice.stream("store"))
        self.database = Database(self.backing, self.timeline, self.network, self.dice.stream("database"), nursery)
        self.dead: set[str] = set()  # lives that were killed
        self.leaks: list[str] = []
        self.shot: set[str] = set()  # hosts of which an executor was killed from outside
        self.lost_hints = 0.0  # probability that a hint between nodes is lost
        names = [f"c{number + 1}" for number in range(servers)]
        self.addresses: Sequence[str] = [f"http://{name}:1" for name in names]
        schedulers_only = [f"s{number + 1}" for number in range(schedulers)]
        self.wakeups = {name: Wakeups() for name in (*names, *schedulers_only)}
        self.coordinators = [ServerNode(self, name) for name in names]
        self.servers = self.coordinators + [ServerNode(self, name, coordinates=False) for name in schedulers_only]
        self.workers = [
            WorkerNode(self, f"w{number + 1}", slots=self.dice.pick((2, 4, 4)), executors=self.dice.pick((1, 2)))
            for number in range(workers)
        ]
        self.clients = Clients(self)
        self._reports: dict[tuple[str, int], Outcomes] = {}
        self.network.watchers.append(self._watch)
        self.network.ends.append(lambda host: self.history.closed.append((host, self.timeline.now)))

    @property
    def nodes(self) -> list[Node]:
        return [*self.servers, *self.workers]

    def node(self, host: str) -> Node:
        return next(node for node in self.nodes if node.host == host)

    # --- its life -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.nursery.start_soon(self.timeline.run)
        for topic in TOPICS:
            self.nursery.start_soon(self._pass_hints_on, topic, self.backing.wakeups.subscribe(topic))
        for node in self.nodes:
            self.timeline.after(self.dice.uniform(0.0, 0.3), node.start)

    async def _pass_hints_on(self, topic: str, hints: trio.MemoryReceiveChannel[None]) -> None:
        """What the database notifies of."""
        async for _ in hints:
            for name, wakeups in self.wakeups.items():
                way = self.network.way(HOST, name)
                if not (self.database.down or way.blocked or self.dice.happens(self.lost_hints)):
                    self.timeline.after(self.network.delay(way), lambda one=wakeups: one.notify(topic))  # type: ignore[misc]

    async def until_final(self, limit: float) -> bool:
        """Until every task is final, at most so many seconds; whether it is."""
        with trio.move_on_after(limit):
            while not self.backing.all_final():
                await trio.sleep(LOOK_EVERY)
            self.history.quiet_at = trio.current_time()
            return True
        return False

    async def until_settled(self, limit: float) -> None:
        """Until nothing is held anywhere, at most so many seconds; what is then left are leaks."""
        with trio.move_on_after(limit):
            while unsettled(self):
                await trio.sleep(LOOK_EVERY)
        self.leaks = unsettled(self)

    def facts(self, expect: Expect) -> Facts:
        """What a judge needs."""
        backing = self.backing
        return Facts(
            history=self.history,
            terms=self.terms,
            changes=backing.tables.changes,
            sessions=backing.tables.session_changes,
            ended=backing.ended(),
            rows=backing.rows(),
            expect=expect,
            all_final=backing.all_final(),
            leaks=self.leaks,
        )

    # --- what goes over the network -----------------------------------------------------------------

    def forget_reports(self, host: str) -> None:
        self._reports = {key: one for key, one in self._reports.items() if key[0] != host}

    def _watch(self, source: str, target: str, message: Any) -> None:
        match message:
            case wire.Report(sequence=sequence, outcomes=outcomes):
                self._reports[source, sequence] = outcomes
                self.timeline.note("report", source, sequence, list(zip(outcomes.ids, outcomes.kinds, strict=True)))
            case wire.Committed(sequence=sequence, verdicts=verdicts):
                reported = self._reports.get((target, sequence))
                self.timeline.note("verdicts", target, sequence, [int(one) for one in verdicts])
                if reported is not None:
                    self.history.verdicts += told(self.timeline.now, target, reported, verdicts)
            case wire.Assign(assignment=assignment):
                self.timeline.note("assign", target, list(zip(assignment.ids, assignment.attempts, strict=True)))
            case wire.Heartbeat(sequence=sequence):
                self.timeline.note("beat", source, sequence)
            case wire.HeartbeatReply(lease=wire.Lease.FROZEN):
                self.history.vouched.setdefault(self.node(target).life, []).append(self.timeline.now)
                self.timeline.note("frozen", target)
            case _:
                self.timeline.note("message", source, target, type(message).__name__)


def told(at: float, worker: str, reported: Outcomes, verdicts: Sequence[int]) -> list[Verdict]:
    """What a worker was told of the outcomes of one report."""
    columns = zip(reported.ids, reported.attempts, reported.key_index, reported.kinds, verdicts, strict=True)
    return [
        Verdict(at, worker, task, attempt, reported.keys[which], kind, int(verdict))
        for task, attempt, which, kind, verdict in columns
    ]


class Crashes(logging.Handler):
    """Actors that crash are noted: no fault of this world may make one crash."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG if world.timeline.verbose else logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        try:
            here = place.get()
            now = trio.current_time()
        except RuntimeError:
            return
        if self._world.timeline.verbose:
            print(f"{now:9.3f} {here[-1] if here else '':14} {record.levelname} {record.getMessage()}", flush=True)
        if record.levelno >= logging.ERROR and record.exc_info and self._world.dead.isdisjoint(here):
            error = record.exc_info[1]
            if here and here[0] in self._world.shot and error is not None and "SIGKILL" in describe(error):
                return  # one of its executors was killed from outside
            self._world.history.crashes.append(f"{now:.3f} {here}: {record.getMessage()}: {error!r}"[:800])
