"""The crew: all executors of a worker node. Spreads assignments over them and gathers what they report."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import trio

from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.errors import ConfigurationError
from actors.model.worker import HandlerInfo, Held
from actors.runtime.periodic import boottime
from actors.runtime.supervisor import RestartPolicy, keep_running, leaves
from actors.runtime.tree import TreeNode
from actors.worker.books import unstarted
from actors.worker.child import Launch
from actors.worker.executor import Executor
from actors.worker.gather import Gatherer
from actors.worker.limits import Limits
from actors.worker.solo import Solo
from actors.worker.spread import alone, cut, partition, share
from callboard.executor.frames import Declared, Done

log = logging.getLogger(__name__)

# Only deaths with nothing to do count: executors that can't live. More than these: the node has failed.
EXECUTOR = RestartPolicy(intensity=5, period=60, first_delay=0.5, max_delay=30)
LOOK_EVERY = 0.25  # seconds between looks at what waits


class Listener(Protocol):
    """Whom the crew reports to: the link. Nothing here waits."""

    def finished(self, outcomes: Outcomes) -> None: ...
    def started(self, attempts: Sequence[Held]) -> None: ...
    def progressed(self, values: Sequence[tuple[int, int, str]]) -> None: ...


class Crew:
    """Implements what the link asks of executors, and what executors tell their owner."""

    def __init__(
        self,
        *,
        apps: Sequence[str],
        slots: int,
        executors: int,
        launch: Launch,
        limits: Limits,
        node: TreeNode,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self.limits = limits
        self.listener: Listener = _Nobody()
        self.deadline: float | None = None
        self._node, self._clock = node, clock
        self._make = partial(Executor, apps=apps, launch=launch, limits=limits, owner=self)
        count = max(1, min(executors, slots))
        self.executors = [
            self._make(
                f"executor {number + 1}",
                slots=slots // count + (number < slots % count),
                node=node.child(f"executor {number + 1}"),
            )
            for number in range(count)
        ]
        self._slots = slots
        self.solo = Solo(self._free_slots, self._make_solo, self._end_unstarted, self._slot_left, node)
        self._waiting: deque[tuple[float, Assignment]] = deque()  # (since): no room for now; bounded by the credit
        self._isolated: frozenset[str] = frozenset()
        self._gather = Gatherer(
            lambda outcomes: self.listener.finished(outcomes),
            lambda attempts: self.listener.started(attempts),
            lambda values: self.listener.progressed(values),
        )
        self.last_done: float | None = None  # trio time of the newest outcome

    # --- its life ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when every executor is ready. Raises ConfigurationError, RestartLimitReached."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._gather.run)
                nursery.start_soon(self._look_after_waiting)
                nursery.start_soon(self.solo.run)
                async with trio.open_nursery() as starts:
                    for executor in self.executors:
                        keep = partial(keep_running, executor.name, executor.run, EXECUTOR, node=executor.node)
                        starts.start_soon(nursery.start, keep)
                task_status.started()
        except* ConfigurationError as group:  # every executor says the same: once is enough
            refusals = [leaf for leaf in leaves(group) if isinstance(leaf, ConfigurationError)]
            problems = [problem for refusal in refusals for problem in refusal.problems]
            raise ConfigurationError(list(dict.fromkeys(problems))) from None
        finally:
            self._release_waiting("the worker stops")
            self._gather.flush()

    @property
    def handlers(self) -> list[HandlerInfo]:
        """What the executors declared, for Hello."""
        return [
            HandlerInfo(
                name=one.name,
                queue=one.queue,
                max_tries=one.max_tries,
                timeout=one.timeout,
                backoff=one.backoff,
                args=one.args,
            )
            for one in self._declared()
        ]

    def _declared(self) -> list[Declared]:
        return next((executor.handlers for executor in self.executors if executor.handlers), [])

    def __iter__(self) -> Iterator[Executor]:
        yield from self.executors
        yield from self.solo.executors

    @property
    def held(self) -> int:
        """Attempts that are here and have not ended."""
        return sum(executor.held for executor in self) + len(self.solo) + self.waiting

    @property
    def waiting(self) -> int:
        return sum(len(assignment) for _, assignment in self._waiting)

    @property
    def waits_since(self) -> float | None:
        """Trio time since which the oldest has waited for an executor."""
        return self._waiting[0][0] if self._waiting else None

    def unstarted(self) -> list[tuple[float, int, int, str]]:
        """(since, task, attempt, handler) of those that are in no executor yet."""
        found = self.solo.unstarted()
        for since, one in self._waiting:
            names = [one.names[index] for index in one.name_index]
            found += [
                (since, task, attempt, name) for task, attempt, name in zip(one.ids, one.attempts, names, strict=True)
            ]
        return found

    async def wait_idle(self) -> None:
        """Until nothing is held; for a drain, which is short and rare."""
        while self.held:  # noqa: ASYNC110
            await trio.sleep(0.02)

    # --- what the link asks -------------------------------------------------------------------------

    def assign(self, assignment: Assignment) -> None:
        rest: Assignment | None = assignment
        if any(assignment.flags) or not self._isolated.isdisjoint(assignment.names):
            solo, rest = partition(assignment, alone(assignment, self._isolated))
            if solo is not None:
                self.solo.add(solo, trio.current_time())
        if rest is not None:
            self._spread(rest, trio.current_time())

    def _free_slots(self) -> int:
        """Slots that no attempt uses, or is about to use."""
        return self._slots - self.solo.running - sum(executor.held for executor in self.executors)

    def _slot_left(self) -> None:
        """An attempt has ended: who waits for its slot may have it."""
        self.solo.look()
        if self._waiting:
            self._hand_out_waiting()

    def _spread(self, assignment: Assignment, since: float) -> None:
        if self.solo.wanted:  # they take their slots from the others, who hold nothing in advance meanwhile
            room = max(0, self._free_slots() - (self.solo.wanted - self.solo.running))
            fits, rest = partition(assignment, range(min(room, len(assignment))))
            if rest is not None:
                self._waiting.append((since, rest))
            if fits is None:
                return
            assignment = fits
        up = self._available()
        if len(up) == 1:
            up[0].give(assignment)
        elif not up:
            self._waiting.append((since, assignment))
        else:
            counts = share(len(assignment), [executor.room for executor in up])
            for part, executor in zip(cut(assignment, counts), up, strict=True):
                if part is not None:
                    executor.give(part)

    def _available(self) -> list[Executor]:
        """Those that can take something; a silent one only when all are."""
        now, up = trio.current_time(), [executor for executor in self.executors if executor.can_take()]
        lively = [executor for executor in up if executor.silent_for(now) < self.limits.sluggish]
        return lively or up

    def cancel(self, ids: Sequence[int], reason: str) -> None:
        """Asks these to leave; at the end of a lease they get less time."""
        grace = self.limits.cancel_grace
        if reason in ("lease", "session"):
            grace = min(grace, self.limits.lease_grace)
        self.stop(ids, reason, grace)

    def stop(self, ids: Sequence[int], reason: str, grace: float) -> None:
        wanted = set(ids)
        for executor in self:
            mine = executor.books.held.keys() & wanted
            if mine:
                executor.stop(mine, reason, grace)
        self.solo.cancel(wanted, reason)
        if self._waiting:
            self._cancel_waiting(wanted, reason)

    def _cancel_waiting(self, wanted: set[int], reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for since, assignment in waiting:
            places = [place for place, task in enumerate(assignment.ids) if task in wanted]
            gone, rest = partition(assignment, places)
            if gone is not None:
                self._end_unstarted(gone, *how_unstarted(reason))
            if rest is not None:
                self._waiting.append((since, rest))

    def set_deadline(self, deadline: float | None) -> None:
        self.deadline = deadline
        for executor in self:
            executor.tell_deadline(deadline)

    @property
    def lease_over(self) -> bool:
        return self.deadline is not None and self._clock() >= self.deadline

    def hand_back_queued(self) -> None:
        """A drain begins: what surely has not started goes back."""
        for executor in self:
            queued = executor.surely_queued()
            if queued:
                executor.stop(queued, "drain", self.limits.cancel_grace)
        self.solo.hand_back()
        self._release_waiting("this worker is draining")

    def stop_all(self, reason: str, grace: float) -> None:
        self.stop([task for executor in self for task in executor.books.held], reason, grace)
        self.solo.hand_back()
        self._release_waiting("this worker stops")

    # --- what waits ---------------------------------------------------------------------------------

    def _release_waiting(self, why: str) -> None:
        while self._waiting:
            self._end_unstarted(self._waiting.popleft()[1], Outcome.RELEASED, why)

    async def _look_after_waiting(self) -> None:
        while True:
            await trio.sleep(LOOK_EVERY)
            latest = trio.current_time() - self.limits.start
            while self._waiting and self._waiting[0][0] <= latest:
                why = f"no executor had room within {self.limits.start:g} s"
                self._end_unstarted(self._waiting.popleft()[1], Outcome.RELEASED, why)
            if self._waiting and self._available():
                self._hand_out_waiting()

    def _hand_out_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for since, assignment in waiting:
            self._spread(assignment, since)

    def _end_unstarted(self, assignment: Assignment, kind: Outcome, why: str) -> None:
        self._gather.add(unstarted(assignment, kind, why))

    def _make_solo(self, number: int) -> Executor:
        name = f"solo {number}"
        return self._make(name, slots=1, node=self._node.child(name))

    # --- what executors tell --------------------------------------------------------------------------

    def ready(self, executor: Executor) -> None:
        self._isolated = frozenset(one.name for one in executor.handlers if one.isolated)
        if {one.name for one in executor.handlers} != {one.name for one in self._declared()}:
            log.warning("%s declares other handlers than the executors before it: was the app changed?", executor.name)
        if executor in self.executors and self._waiting:
            self._hand_out_waiting()

    def done(self, frame: Done) -> None:
        self.last_done = trio.current_time()
        self._gather.add(frame)
        if self.solo.wanted:
            self._slot_left()

    def ended(self, outcomes: Outcomes) -> None:
        self._gather.add(outcomes)
        if self.solo.wanted:
            self._slot_left()

    def started(self, attempts: Sequence[Held]) -> None:
        self._gather.begin(attempts)

    def progressed(self, task: int, attempt: int, value: str) -> None:
        self._gather.progress(task, attempt, value)


def how_unstarted(reason: str) -> tuple[Outcome, str]:
    """How an attempt ends that never got to an executor and is told to stop."""
    if reason == "cancelled":
        return Outcome.CANCELLED, "cancelled before it started"
    return Outcome.RELEASED, f"stopped before it started ({reason})"


class _Nobody:
    """Until the link is connected; nothing can be assigned before."""

    def finished(self, outcomes: Outcomes) -> None:
        log.error("%d outcomes have nobody to go to", len(outcomes))

    def started(self, attempts: Sequence[Held]) -> None: ...
    def progressed(self, values: Sequence[tuple[int, int, str]]) -> None: ...
