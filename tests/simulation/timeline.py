"""What happens when: calls at virtual times, and the trace of a run."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import trio

Call = Callable[[], None]


class Timeline:
    """The world's own clockwork: networks, kernels and databases go on whatever happens to the nodes."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()
        self._scope = trio.CancelScope()
        self.trace: list[tuple[Any, ...]] = []
        self.verbose = False

    @property
    def now(self) -> float:
        return trio.current_time()

    def at(self, when: float, call: Call) -> None:
        """Calls it at this time; calls of the same time in the order in which they were asked for."""
        first = not self._calls or when < self._calls[0][0]
        heapq.heappush(self._calls, (when, next(self._numbers), call))
        if first:
            self._scope.deadline = when

    def after(self, delay: float, call: Call) -> None:
        self.at(trio.current_time() + delay, call)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._scope = trio.CancelScope(deadline=self._calls[0][0] if self._calls else float("inf"))
            with self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._calls and self._calls[0][0] <= now:
                heapq.heappop(self._calls)[2]()

    def note(self, kind: str, *facts: Any) -> None:
        """An entry of the trace."""
        self.trace.append((round(trio.current_time(), 6), kind, *facts))
        if self.verbose:
            print(f"{trio.current_time():9.3f} {kind:14}", *facts, flush=True)
