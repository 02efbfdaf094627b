"""What can be done to a world: each fault lasts for some seconds, and is healed by whatever ends it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import trio

from actors.model.link import Assign
from tests.simulation.database import HOST, WRITES, Trouble
from tests.simulation.dice import Dice
from tests.simulation.nodes import Node, ServerNode, WorkerNode
from tests.simulation.world import World

STOP_PATIENCE = 15.0  # seconds that a rolling restart waits for a node before it kills it


class Faults:
    """Every method is one fault, from its beginning to its end."""

    def __init__(self, world: World, dice: Dice) -> None:
        self.world, self.dice = world, dice

    @contextmanager
    def _noted(self, kind: str, *targets: str) -> Iterator[None]:
        fault = self.world.history.fault(kind, " ".join(targets))
        try:
            yield
        finally:
            self.world.history.heal(fault)

    # --- processes ----------------------------------------------------------------------------------

    async def crash(self, node: Node, seconds: float, *, silent: bool = False) -> None:
        """Killed, and started again after so many seconds."""
        with self._noted("crash", node.host):
            node.crash(silent=silent)
            await trio.sleep(seconds)
            node.start()

    async def crash_at(self, node: Node, event: int, seconds: float, limit: float) -> None:
        """Killed at its so-and-so-many-th event from now: a statement sent, done or answered, a message arrived."""
        reached = trio.Event()
        left = event

        def count(*facts: Any) -> None:
            nonlocal left
            if node.host in facts:
                left -= 1
                if left == 0:
                    self.world.timeline.note("crash point", *facts[:3])
                    node.crash()
                    reached.set()

        hooks, watchers = self.world.database.hooks, self.world.network.watchers
        hooks.append(count)
        watchers.append(count)
        try:
            with self._noted("crash", node.host):
                with trio.move_on_after(limit):
                    await reached.wait()
                    await trio.sleep(seconds)
                node.start()
        finally:
            hooks.remove(count)
            watchers.remove(count)

    async def freeze(self, node: Node, seconds: float, *, whole: bool = False) -> None:
        """SIGSTOP to the node; `whole`: to its executors too, as when a machine sleeps."""
        life = node.life
        if not node.alive:
            return
        with self._noted("freeze all" if whole else "freeze", node.host):
            if whole and isinstance(node, WorkerNode):
                node.freeze_all()
            else:
                node.freeze()
            await trio.sleep(seconds)
            if node.life == life:
                node.thaw()

    async def restart(self, node: Node, pause: float) -> None:
        """Stopped gracefully, as in a rolling restart, and started again."""
        with self._noted("restart", node.host):
            node.stop()
            await self._end(node)
            await trio.sleep(pause)
            node.start()

    async def _end(self, node: Node, *, judged: bool = True) -> None:
        """Waits for it; what does not end is killed."""
        life, ended, asked = node.life, node.ended, trio.current_time()
        with trio.move_on_after(STOP_PATIENCE):
            await ended.wait()
        if node.life == life and node.alive:
            if judged:
                self.world.history.stops.append((life, asked, math.inf, STOP_PATIENCE))
            node.crash()

    async def kill_executor(self, node: WorkerNode) -> None:
        """SIGKILL from outside to one of its executors."""
        alive = [child for child in node.machine.children if child.alive] if node.machine is not None else []
        if alive:
            child = self.dice.pick(alive)
            with self._noted("kill executor", node.host):
                self.world.shot.add(node.host)
                child.kill()
                await trio.sleep(0.1)

    async def block_executor(self, node: WorkerNode, seconds: float) -> None:
        """A handler holds its executor's loop."""
        alive = [child for child in node.machine.children if child.alive] if node.machine is not None else []
        if alive:
            child = self.dice.pick(alive)
            with self._noted("block executor", node.host):
                child.freeze()
                await trio.sleep(seconds)
                child.thaw()

    # --- the network --------------------------------------------------------------------------------

    async def cut(self, ways: Sequence[tuple[str, str]], seconds: float, *, kind: str = "cut") -> None:
        """Nothing passes these ways, each from one host to another; what waits comes afterwards."""
        network, database = self.world.network, self.world.database
        with self._noted(kind, *(f"{source}>{target}" for source, target in ways)):
            for source, target in ways:
                network.block(source, target)
            try:
                await trio.sleep(seconds)
            finally:
                for source, target in ways:
                    network.unblock(source, target)
                    if target == HOST:
                        database.unblock(source)

    async def cut_after_assignment(self, seconds: float, limit: float = 2.0) -> tuple[str, str] | None:
        """The next worker that gets something can't say that it has it; the worker and its coordinator."""
        network, came = self.world.network, trio.Event()
        found: list[tuple[str, str]] = []

        def look(source: str, target: str, message: Any) -> None:
            if isinstance(message, Assign) and not found:
                found.append((target, source))
                network.block(target, source)
                came.set()

        network.watchers.append(look)
        with trio.move_on_after(limit):
            await came.wait()
        network.watchers.remove(look)
        if not found:
            return None
        with self._noted("one way", ">".join(found[0])):
            await trio.sleep(seconds)
            network.unblock(*found[0])
        return found[0]

    async def split(self, hosts: Sequence[str], seconds: float, *, way: str = "both") -> None:
        """These on one side, all others on the other; `way`: both, in or out, as seen by the former."""
        others = [node.host for node in self.world.nodes if node.host not in hosts]
        others += [HOST] * (HOST not in hosts)
        ways = [(one, other) for one in hosts for other in others if way in ("both", "out")]
        ways += [(other, one) for one in hosts for other in others if way in ("both", "in")]
        await self.cut(ways, seconds, kind=f"split {way}")

    async def reset(self, worker: str, server: str) -> None:
        with self._noted("reset", worker, server):
            self.world.network.reset(worker, server)
            await trio.sleep(0.05)

    async def tear(self, worker: str, server: str, seconds: float) -> None:
        """The connection is reset, and no other comes to any coordinator for so many seconds."""
        self.world.network.reset(worker, server)
        ways = [way for one in self.world.coordinators for way in ((worker, one.host), (one.host, worker))]
        await self.cut(ways, seconds, kind="tear")

    async def slow_network(self, seconds: float, jitter: float) -> None:
        """Every way takes up to so many seconds longer."""
        ways = [(one.host, other.host) for one in self.world.nodes for other in self.world.nodes if one is not other]
        ways += [way for node in self.world.nodes for way in ((node.host, HOST), (HOST, node.host))]
        with self._noted("slow network", f"{jitter:g}"):
            for way in ways:
                self.world.network.way(*way).jitter += jitter
            await trio.sleep(seconds)
            for way in ways:
                self.world.network.way(*way).jitter -= jitter

    async def repeat_messages(self, seconds: float, probability: float) -> None:
        """Messages between workers and coordinators come twice."""
        with self._noted("repeats", f"{probability:g}"):
            ways = [
                self.world.network.way(*pair)
                for worker in self.world.workers
                for server in self.world.coordinators
                for pair in ((worker.host, server.host), (server.host, worker.host))
            ]
            for way in ways:
                way.repeats += probability
            await trio.sleep(seconds)
            for way in ways:
                way.repeats -= probability

    async def lose_hints(self, seconds: float, probability: float = 1.0) -> None:
        with self._noted("lost hints"):
            self.world.lost_hints += probability
            await trio.sleep(seconds)
            self.world.lost_hints -= probability

    # --- the database -------------------------------------------------------------------------------

    async def outage(self, seconds: float) -> None:
        """It crashes, and recovers."""
        with self._noted("database down"):
            self.world.database.crash()
            await trio.sleep(seconds)
            self.world.database.start()

    async def lock(self, seconds: float) -> None:
        """Somebody holds a lock that every statement needs."""
        with self._noted("database locked"):
            self.world.database.locked += 1
            await trio.sleep(seconds)
            self.world.database.unlock()

    async def trouble(
        self,
        seconds: float,
        *,
        names: Sequence[str] = WRITES,
        lose_question: float = 0.0,
        lose_answer: float = 0.0,
        refuse: float = 0.0,
        slow: float = 0.0,
        only: ServerNode | None = None,
        most: int = 1_000_000,
    ) -> None:
        """At most so many statements of these names get lost, refused or late, each with its probability."""
        trouble = Trouble(
            frozenset(names), lose_question, lose_answer, refuse, slow, None if only is None else only.host, most
        )
        kinds = {"question": lose_question, "answer": lose_answer, "refuse": refuse, "slow": slow}
        with self._noted("statements", *(kind for kind, chance in kinds.items() if chance)):
            self.world.database.troubles.append(trouble)
            await trio.sleep(seconds)
            self.world.database.troubles.remove(trouble)

    async def step_clock(self, by: float, seconds: float, *, back: bool = True) -> None:
        """The database's clock is set, and set back after so many seconds."""
        with self._noted("clock step", f"{by:+g}"):
            self.world.backing.step(by)
            await trio.sleep(seconds)
            if back:
                self.world.backing.step(-by)

    # --- people -------------------------------------------------------------------------------------

    async def pause_worker(self, node: WorkerNode, seconds: float) -> None:
        """An operator pauses it, and lets it go on."""
        worker = node.life
        with self._noted("pause", node.host):
            await self.world.backing.wish(worker, paused=True)
            await trio.sleep(seconds)
            await self.world.backing.wish(worker, paused=False)

    async def drain_worker(self, node: WorkerNode) -> None:
        """An operator drains it; what comes after its end is a new life."""
        with self._noted("drain", node.host):
            await self.world.backing.wish(node.life, drain=True)
            await self._end(node, judged=False)  # the wish is its session's, and ends with it
            node.start()
