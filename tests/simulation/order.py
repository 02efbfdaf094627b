"""The two things that Trio does not offer in public: a seeded order of tasks, and a node that stands still.

Trio shuffles each batch of runnable tasks with a private source of chance. Its plugin for Hypothesis seeds that source
and sorts the batch first, by a switch that is private too: without both no run could be repeated. Freezing takes the
tasks of a node out of the queue of runnable tasks at the moment in which they are put there, as SIGSTOP takes a
process from the kernel's: its timers run out meanwhile, what was sent to it waits, and nothing of it goes on.
Everything private is used here and nowhere else; a Trio that lacks it fails at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import trio
from trio._core import _run

PRIVATE = ("_r", "_ALLOW_DETERMINISTIC_SCHEDULING", "GLOBAL_RUN_CONTEXT")
for _name in PRIVATE:
    if not hasattr(_run, _name):
        raise ImportError(f"this version of trio has no {_name}: tests/simulation/order.py must be adapted to it")

# Names of the nodes that a task belongs to, from the largest: ("w1",) or ("w1", "w1/3") for an executor of it.
place: ContextVar[tuple[str, ...]] = ContextVar("place", default=())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it, equal seeds make equal orders of tasks; outside everything is as before."""
    private: Any = _run
    state, switch = private._r.getstate(), private._ALLOW_DETERMINISTIC_SCHEDULING
    private._r.seed(seed)
    private._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        private._r.setstate(state)
        private._ALLOW_DETERMINISTIC_SCHEDULING = switch


class Freezer(trio.abc.Instrument):
    """Stops the tasks of whole nodes, and lets them go on."""

    def __init__(self) -> None:
        self.frozen: set[str] = set()
        self._held: list[trio.lowlevel.Task] = []

    def freeze(self, name: str) -> None:
        if not self.frozen:
            trio.lowlevel.add_instrument(self)
        self.frozen.add(name)

    def thaw(self, name: str) -> None:
        if name not in self.frozen:
            return
        self.frozen.discard(name)
        held, self._held = self._held, []
        for task in held:
            if self._stands_still(task):
                self._held.append(task)
            else:
                _runnable().append(task)
        if not self.frozen:
            trio.lowlevel.remove_instrument(self)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if self._stands_still(task):
            last = _runnable().pop()
            assert last is task
            self._held.append(task)

    def _stands_still(self, task: trio.lowlevel.Task) -> bool:
        belongs_to: tuple[str, ...] | None = task.context.get(place)
        return not self.frozen.isdisjoint(belongs_to or ())


def _runnable() -> Any:
    private: Any = _run.GLOBAL_RUN_CONTEXT
    return private.runner.runq


def within(names: tuple[str, ...], call: Callable[..., Any], *args: Any) -> Any:
    """Calls something that starts tasks, so that they belong to these nodes."""
    token = place.set(names)
    try:
        return call(*args)
    finally:
        place.reset(token)
