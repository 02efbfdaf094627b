"""A simulated executor process: speaks the frames of callboard.executor and keeps its rules.

It starts attempts in the order in which they came, as many as it has slots; reports starts that last, hands back what
finds no slot, obeys Stop, and ends what runs at the deadline that its node shares with it, by force if need be. Its
kernel goes on while its loop stands still: what kills it at the deadline is no task of its own.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import trio
import trio.lowlevel

from callboard.errors import CancelReason
from callboard.executor import frames
from callboard.executor.outcomes import Outcome
from tests.simulation.attempt import Attempt, behave, reason_of, said, stopped
from tests.simulation.history import Execution, History
from tests.simulation.order import Freezer, within
from tests.simulation.timeline import Timeline

STARTED_AFTER = 0.05  # seconds after which a start is reported
INSTANT = 1e-6  # seconds: what adding up numbers costs
SIGKILL, SIGALRM = -9, -14


@dataclass(slots=True)
class Machine:
    """What an executor needs of the world and of its node."""

    timeline: Timeline
    history: History
    freezer: Freezer
    nursery: trio.Nursery  # of the world: a process outlives its node for a moment
    node: str  # name of the node
    life: str  # name and life: "w1#2"
    slots: int  # of the whole worker
    import_time: Callable[[], float]
    clock_ahead: float  # seconds by which the machine's clock is ahead of the world's
    declared: list[frames.Declared]
    children: list[SimChild] = field(default_factory=list)

    async def launch(self) -> SimChild:
        await trio.lowlevel.checkpoint()
        child = SimChild(self, len(self.children) + 1)
        self.children.append(child)
        return child

    def kill_all(self) -> None:
        for child in self.children:
            child.exit(SIGKILL)


class SimChild:
    """Implements actors.worker.child.Child."""

    _pids = itertools.count(1000)

    def __init__(self, machine: Machine, number: int) -> None:
        self._machine, self._timeline = machine, machine.timeline
        self.pid, self.name = number, f"{machine.life}/{number}"
        self._slots, self._start_limit, self._stop_after = 1, 5.0, 0.5
        self._queue: deque[Attempt] = deque()
        self._running: dict[int, Attempt] = {}
        self._known: dict[int, Attempt] = {}
        self._given = 0
        self.begun: int | None = 0
        self.unsent = 0
        self._page: float | None = None  # the deadline, where it is seen at any time
        self._at: float | None = None  # the deadline that the loop knows
        self._refusal: CancelReason | None = None
        self._cutter = frames.Cutter()
        self._unread = bytearray()  # as in a socket: whoever comes first reads it
        self._readable = trio.Event()
        self._closed = False  # by the node
        self._code: int | None = None
        self._exited = trio.Event()
        self._missed: deque[bytes] = deque()  # frames that a blocked loop has not read

    # --- what the node sees -------------------------------------------------------------------------

    def share_deadline(self, at: float | None) -> None:
        self._page = None if at is None else at - self._machine.clock_ahead

    def send(self, data: bytes) -> None:
        if self._code is not None:
            return
        if self.stands_still:
            self._missed.append(data)
        else:
            self._read(data)

    async def pump(self) -> None:
        await trio.sleep_forever()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._unread and self._code is None:
            self._readable = trio.Event()
            await self._readable.wait()
        return self.receive_rest()

    def receive_rest(self) -> bytes:
        found = bytes(self._unread)
        self._unread.clear()
        return found

    def kill(self) -> None:
        self.exit(SIGKILL)

    @property
    def gone(self) -> trio.Event:
        """Set when it has ended."""
        return self._exited

    async def wait(self) -> int:
        await self._exited.wait()
        assert self._code is not None
        return self._code

    def close(self) -> None:
        self._closed = True

    # --- the process --------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._code is None

    @property
    def stands_still(self) -> bool:
        return not self._machine.freezer.frozen.isdisjoint((self.name, f"{self._machine.node}/*"))

    def freeze(self) -> None:
        self._machine.freezer.freeze(self.name)

    def thaw(self) -> None:
        self._machine.freezer.thaw(self.name)
        self.catch_up()

    def stand_still_for(self, seconds: float) -> None:
        self._timeline.after(seconds, self.thaw)
        self.freeze()

    def catch_up(self) -> None:
        """What came while it stood still."""
        if self._code is None and not self.stands_still:
            self._keep_deadline()
            missed, self._missed = self._missed, deque()
            for data in missed:
                self._read(data)

    def exit(self, code: int) -> None:
        if self._code is not None:
            return
        self._code = code
        self._timeline.note("executor end", self.name, code)
        for attempt in list(self._known.values()):
            attempt.ended = True
            if attempt.execution is not None:
                self._machine.history.end(attempt.execution, "killed")
            if attempt.scope is not None:
                attempt.scope.cancel("the process has ended")
        self._queue.clear()
        self._readable.set()
        self._exited.set()
        self._machine.freezer.thaw(self.name)

    def _say(self, frame: frames.ToNode) -> None:
        if self._code is not None:
            return
        if self._closed:
            self.exit(0)  # the node is gone
        self._unread += frames.encode(frame)
        self._readable.set()

    def _read(self, data: bytes) -> None:
        for body in self._cutter.feed(data):
            if self._code is None:
                self._take(frames.for_executor(body))

    def _take(self, frame: frames.ToExecutor) -> None:
        match frame:
            case frames.Boot():
                self._slots, self._start_limit, self._stop_after = frame.slots, frame.start_limit, frame.stop_after
                ready = partial(self._say, frames.Ready(self._machine.declared))
                self._timeline.after(self._machine.import_time(), ready)
            case frames.Run():
                self._add(frame)
            case frames.Stop():
                for task in frame.ids:
                    if (attempt := self._known.get(task)) is not None:
                        self._stop(attempt, reason_of(frame.reason))
            case frames.Deadline():
                self._renew(None if frame.at is None else frame.at - self._machine.clock_ahead)
            case frames.Ping():
                self._say(frames.Pong(frame.number, len(self._running), 0.0))
            case frames.Leave():
                self.exit(0)

    # --- the deadline -------------------------------------------------------------------------------

    def _renew(self, at: float | None) -> None:
        self._at = at
        if at is None:
            self._stop_everything()
            return
        self._refusal = None
        at = self._newest()
        self._timeline.at(at, self._keep_deadline)
        self._timeline.at(at + self._stop_after, self._keep_deadline)

    def _newest(self) -> float:
        assert self._at is not None
        return max(self._at, self._page or self._at)

    def _keep_deadline(self) -> None:
        """At the deadline its loop stops what runs, and its kernel ends it a little later."""
        if self._code is not None or self._at is None or self._machine_stands_still:
            return
        late = self._timeline.now - self._newest()
        if late >= self._stop_after - INSTANT and self._known:
            self.exit(SIGALRM)
        elif late >= -INSTANT and not self.stands_still:
            self._stop_everything()

    @property
    def _machine_stands_still(self) -> bool:
        return f"{self._machine.node}/*" in self._machine.freezer.frozen

    def _stop_everything(self) -> None:
        self._refusal = CancelReason.LEASE
        for attempt in list(self._known.values()):
            self._stop(attempt, CancelReason.LEASE)

    # --- attempts -----------------------------------------------------------------------------------

    def _add(self, run: frames.Run) -> None:
        begin, now = 0, self._timeline.now
        columns = zip(run.ids, run.attempts, run.name_index, run.timeouts, run.sizes, strict=True)
        for task, number, which, timeout, size in columns:
            args = json.loads(run.payloads[begin : begin + size])
            begin += size
            self._given += 1
            attempt = Attempt(task, number, run.key, run.names[which], args, timeout / 1000, self._given, now)
            if (older := self._known.get(task)) is not None:
                self._stop(older, CancelReason.SESSION)
            self._known[task] = attempt
            if self._refusal is not None:
                self._end(attempt, *stopped(self._refusal))
            else:
                self._queue.append(attempt)
                self._timeline.after(self._start_limit, partial(self._release_late, attempt))
        self._staff()

    def _staff(self) -> None:
        while self._queue and len(self._running) < self._slots and self._code is None:
            attempt = self._queue.popleft()
            if attempt.ended:
                continue
            self.begun = attempt.sequence
            attempt.scope = trio.CancelScope()
            self._running[attempt.id] = attempt
            machine, exclusive = self._machine, bool(attempt.args.get("exclusive"))
            attempt.execution = machine.history.begin(
                Execution(
                    attempt.id, attempt.number, attempt.key, machine.node, machine.life, machine.slots,
                    self._timeline.now, self.name, exclusive,
                )
            )  # fmt: skip
            within((self.name, f"{machine.node}/*"), machine.nursery.start_soon, self._run, attempt)

    def _stop(self, attempt: Attempt, reason: CancelReason) -> None:
        attempt.reason = attempt.reason or reason
        if attempt.scope is None:
            self._end(attempt, *stopped(reason))
        else:
            attempt.scope.cancel(reason.value)

    def _release_late(self, attempt: Attempt) -> None:
        if self.stands_still:
            self._timeline.after(0.5, partial(self._release_late, attempt))
        elif attempt.scope is None and not attempt.ended:
            self._end(attempt, Outcome.RELEASED, said("NoSlot", "no slot became free"))

    def _end(self, attempt: Attempt, kind: int, body: bytes) -> None:
        if attempt.ended:
            return
        attempt.ended = True
        if self._known.get(attempt.id) is attempt:
            del self._known[attempt.id]
        self._say(frames.Done(attempt.key, [attempt.id], [attempt.number], [kind], [len(body)], body))

    async def _run(self, attempt: Attempt) -> None:
        """A runner: one attempt."""
        if attempt.ended:
            return
        execution = attempt.execution
        assert execution is not None
        self._timeline.after(STARTED_AFTER, partial(self._report_start, attempt))
        scope = attempt.scope
        assert scope is not None
        if attempt.timeout:
            scope.deadline = trio.current_time() + attempt.timeout
        ended: tuple[int, bytes] | None = None
        with scope:
            ended = await behave(self, attempt)
        if self._code is not None:
            return  # killed
        if ended is None:
            ended = stopped(attempt.reason or CancelReason.TIMEOUT)
        how = {Outcome.SUCCEEDED: "return", Outcome.FAILED: "raise", Outcome.SNOOZED: "snooze"}
        self._machine.history.end(execution, how.get(Outcome(ended[0]), "cancelled"))
        if self._running.get(attempt.id) is attempt:
            del self._running[attempt.id]
        self._end(attempt, *ended)
        self._staff()

    def _report_start(self, attempt: Attempt) -> None:
        if self.stands_still:
            self._timeline.after(0.25, partial(self._report_start, attempt))
        elif not attempt.ended:
            self._say(frames.Started([attempt.id]))
