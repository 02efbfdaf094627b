"""Attempts that run alone: an executor for each, started when it is needed, ended with it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import trio

from actors.model.columns import Assignment, Outcome
from actors.runtime.supervisor import describe
from actors.runtime.tree import TreeNode
from actors.worker.executor import Executor
from actors.worker.spread import pick

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lone:
    """One task that shall run alone."""

    since: float  # trio time
    part: Assignment

    @property
    def task(self) -> int:
        return self.part.ids[0]


class Solo:
    """As many at once as there are slots that nobody else uses; the others wait in turn."""

    def __init__(
        self,
        free: Callable[[], int],
        make: Callable[[int], Executor],
        end: Callable[[Assignment, Outcome, str], None],
        left: Callable[[], None],
        node: TreeNode,
    ) -> None:
        """`free` counts slots that nobody uses now; `left` hears that one of these has given its slot back."""
        self._free, self._make, self._end, self._left, self._node = free, make, end, left, node
        self._waiting: deque[Lone] = deque()  # bounded by the worker's credit
        self._starting: dict[Executor, tuple[Lone, trio.CancelScope]] = {}
        self._running: set[Executor] = set()
        self._look = trio.Event()
        self._count = 0

    @property
    def executors(self) -> Iterator[Executor]:
        return iter(list(self._running))

    def __len__(self) -> int:
        """Attempts that are not in an executor yet."""
        return len(self._waiting) + len(self._starting)

    @property
    def running(self) -> int:
        """Slots that are taken by these, from the start of the executor on."""
        return len(self._running)

    @property
    def wanted(self) -> int:
        """Slots that these take, or wait for."""
        return len(self._running) + len(self._waiting)

    def look(self) -> None:
        """A slot may have become free."""
        if self._waiting:
            self._look.set()

    def add(self, assignment: Assignment, now: float) -> None:
        self._waiting += [Lone(now, pick(assignment, [place])) for place in range(len(assignment))]
        self._look.set()

    def cancel(self, wanted: Collection[int], reason: str) -> None:
        """Ends those that have not started at once; those that run are cancelled like all others."""
        kind = Outcome.CANCELLED if reason == "cancelled" else Outcome.RELEASED
        self._take_back(lambda one: one.task in wanted, kind, f"stopped before it started ({reason})")

    def hand_back(self) -> None:
        self._take_back(lambda one: True, Outcome.RELEASED, "this worker stops before it started")

    def _take_back(self, chosen: Callable[[Lone], bool], kind: Outcome, why: str) -> None:
        for _ in range(len(self._waiting)):
            one = self._waiting.popleft()
            if chosen(one):
                self._end(one.part, kind, why)
            else:
                self._waiting.append(one)
        for executor, (one, scope) in list(self._starting.items()):
            if chosen(one):
                del self._starting[executor]
                self._end(one.part, kind, why)
                scope.cancel(why)

    def unstarted(self) -> list[tuple[float, int, int, str]]:
        """(since, task, attempt, handler) of those that wait."""
        waiting = [*self._waiting, *(one for one, _ in self._starting.values())]
        return [(one.since, one.task, one.part.attempts[0], one.part.names[one.part.name_index[0]]) for one in waiting]

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    self._look = trio.Event()
                    while self._waiting and self._free() > 0:
                        self._count += 1
                        executor = self._make(self._count)
                        self._running.add(executor)
                        scope = trio.CancelScope()
                        self._starting[executor] = self._waiting.popleft(), scope
                        nursery.start_soon(self._live, executor, scope)
                    await self._look.wait()
        finally:
            self.hand_back()

    async def _live(self, executor: Executor, scope: trio.CancelScope) -> None:
        one, _ = self._starting[executor]
        try:
            with scope:
                await executor.run_alone(one.part, begun=lambda: self._starting.pop(executor, None) is not None)
        except Exception as error:
            log.warning("%s: %s", executor.name, describe(error))
            if self._starting.pop(executor, None) is not None:
                self._end(one.part, Outcome.REFUSED, f"its own executor could not be started: {describe(error)}")
        finally:
            self._running.discard(executor)
            self._node.forget(executor.name)
            self._left()
            self._look.set()
