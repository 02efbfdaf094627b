"""One executor: its child process, what it holds, and what is done when it does not do its part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import trio

from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.errors import CallboardError, ConfigurationError
from actors.model.worker import Held
from actors.runtime import probe
from actors.runtime.tree import TreeNode
from actors.worker.books import Books, is_sound
from actors.worker.child import Child, Launch
from actors.worker.death import Backoff, Death, after_crash, after_kill, handed_back
from actors.worker.limits import Limits
from callboard.executor import frames

log = logging.getLogger(__name__)

FROZEN = 1.0  # seconds by which this process was late when it must have been stopped or starved
LAST_BYTES = 0.05  # seconds from the end of the process until its socket has been read


class ExecutorDied(CallboardError):
    """It ended though nothing ran in it: the executor itself is at fault, not what it was given."""


class Owner(Protocol):
    """What an executor tells its crew. Nothing here waits."""

    def ready(self, executor: Executor) -> None: ...
    def done(self, frame: frames.Done) -> None: ...
    def ended(self, outcomes: Outcomes) -> None: ...
    def started(self, attempts: Sequence[Held]) -> None: ...
    def progressed(self, task: int, attempt: int, value: str) -> None: ...
    @property
    def deadline(self) -> float | None:
        """CLOCK_BOOTTIME instant at which everything must have stopped."""
        ...

    @property
    def lease_over(self) -> bool: ...


class Executor:
    """The actor. It outlives its child processes; only one is alive at a time."""

    def __init__(
        self,
        name: str,
        *,
        apps: Sequence[str],
        slots: int,
        launch: Launch,
        limits: Limits,
        owner: Owner,
        node: TreeNode,
    ) -> None:
        self.name, self.node, self.books = name, node, Books(slots)
        self.up = False
        self.handlers: list[frames.Declared] = []
        self.lag = 0.0
        self.pid: int | None = None
        self._apps, self._launch, self._limits, self._owner = list(apps), launch, limits, owner
        self._child: Child | None = None
        self._backoff = Backoff()
        self._sentenced: dict[int, Outcome] = {}
        self._trouble: str | None = None
        self._cutter = frames.Cutter()
        self._asked_at: float | None = None  # the oldest thing that it should have answered
        self._pings = 0
        self._pinged_at = 0.0
        self._nudge = trio.Event()
        self._tend_at = 0.0  # when it is looked after next
        self._leaving = False
        self._was_ready = False

    # --- what the crew asks -----------------------------------------------------------------------

    @property
    def held(self) -> int:
        return len(self.books.held)

    @property
    def room(self) -> int:
        """Free slots; below nothing: so many wait in it."""
        return self.books.slots - len(self.books.held)

    def silent_for(self, now: float) -> float:
        """Seconds for which something of ours is unanswered."""
        return 0.0 if self._asked_at is None else now - self._asked_at

    def can_take(self) -> bool:
        return self.up and self._child is not None and self._child.unsent < self._limits.unsent

    def give(self, part: Assignment) -> None:
        """Starts these, in this order; only while `can_take`."""
        now = trio.current_time()
        self.books.give(part, now)
        self._send(
            frames.Run(
                part.lease_key,
                part.ids,
                part.attempts,
                part.names,
                part.name_index,
                part.timeouts,
                part.sizes,
                part.payloads,
            )
        )
        if self._asked_at is None:
            self._asked_at = now

    def stop(self, ids: Iterable[int], reason: str, grace: float) -> None:
        """Asks these to leave; what has not left after `grace` seconds is killed."""
        fresh = self.books.wish(ids, reason, trio.current_time() + grace)
        if fresh:
            self._send(frames.Stop(fresh, reason))
        self._nudge.set()

    def surely_queued(self) -> list[int]:
        """What it holds and has not begun."""
        return self.books.surely_queued(None if self._child is None else self._child.begun)

    def tell_deadline(self, at: float | None) -> None:
        if self._child is not None:
            self._child.share_deadline(at)
        self._send(frames.Deadline(at))

    def _send(self, frame: frames.ToExecutor) -> None:
        if self._child is not None:
            self._child.send(frames.encode(frame))

    # --- its life ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps a process running. Started when everything is imported.

        Raises ConfigurationError when the user's modules can't be imported, ExecutorDied when it ended with
        nothing to do. What user code does to it costs a delay, never the node.
        """
        while True:
            death, blameless = await self._live(task_status=task_status)
            task_status = trio.TASK_STATUS_IGNORED
            self.node.last_error = death.trouble or f"ended {death.how}"
            self.node.restarts_total += 1
            delay = 0.0 if blameless else self._backoff.after(trio.current_time())
            log.warning("%s (pid %d) %s; again in %.1f s", self.name, death.pid, self.node.last_error, delay)
            self.node.enter("backing_off")
            await trio.sleep(delay)

    async def run_alone(self, part: Assignment, begun: Callable[[], bool]) -> None:
        """One process for this one attempt; ends with it. `begun` says whether it is still wanted.

        Raises what a start raises.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._live)
            self._leaving = True
            if begun():
                self.give(part)
            else:
                nursery.cancel_scope.cancel("no longer wanted")

    async def _live(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> tuple[Death, bool]:
        """From start to end of one process; how it ended, and whether nobody is to blame for it."""
        child = self._child = await self._launch()
        self.pid, self._sentenced, self._trouble, self._leaving = child.pid, {}, None, False
        self.books.given = 0
        self._asked_at, self._pinged_at, self._cutter = None, trio.current_time(), frames.Cutter()
        was_up = False
        try:
            self._send(frames.Boot(self._apps, self.books.slots, self._limits.start, self._limits.stop_after))
            self.tell_deadline(self._owner.deadline)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.pump)
                nursery.start_soon(self._watch_exit, child, nursery.cancel_scope)
                await self._wait_ready(child)
                if self.up:
                    was_up = True
                    nursery.start_soon(self._tend)
                    self.node.enter("running")
                    self._owner.ready(self)
                    task_status.started()
                    await self._read(child)
                nursery.cancel_scope.cancel("the executor has ended")
        finally:
            self.up = False
            await self._end(child)
            death, worked = await self._bury(child)
        if not was_up:
            raise ExecutorDied(f"{self.name} {death.trouble or f'ended {death.how}'} before it was ready")
        if not (worked or self._leaving or self._owner.lease_over or death.by_its_alarm):
            raise ExecutorDied(f"{self.name} {death.trouble or f'ended {death.how}'} while nothing ran in it")
        return death, bool(self._sentenced) or self._owner.lease_over

    async def _wait_ready(self, child: Child) -> None:
        """Until it has imported everything, has ended or took too long."""
        with trio.move_on_after(self._limits.ready) as limit:
            while not self.up:
                data = await child.receive()
                if not data or not self._take_all(data):
                    return
        if limit.cancelled_caught:
            self._trouble = f"was not ready within {self._limits.ready:g} s"

    async def _read(self, child: Child) -> None:
        """To the end of the stream, or of the one attempt that it was started for."""
        while not self._leaving or self.held:
            data = await child.receive()
            if not data or not self._take_all(data):
                return

    def _take_all(self, data: bytes) -> bool:
        """False when it sent what is no frame."""
        self._asked_at = None
        try:
            for body in self._cutter.feed(data):
                self._take(frames.for_node(body))
        except frames.FrameError as error:
            self._trouble = f"sent what is no frame ({error})"
            return False
        return True

    def _take(self, frame: frames.ToNode) -> None:
        match frame:
            case frames.Done():
                if not is_sound(frame):
                    raise frames.FrameError("the columns of its outcomes do not fit together")
                known = self.books.done(frame)
                if known is not None:
                    self._owner.done(known)
            case frames.Started(ids=ids):
                if probe.armed is not None:
                    probe.armed.touch("executor.after_start")
                self._owner.started(self.books.begin(ids, trio.current_time()))
                if self.books.next_due(self._limits.cancel_grace) < self._tend_at:
                    self._nudge.set()
            case frames.Progress(id=task, attempt=attempt, value=value):
                if self._holds(task, attempt):
                    self._owner.progressed(task, attempt, value)
            case frames.Serving(id=task, attempt=attempt, path=path):
                if self._holds(task, attempt):
                    self.books.servers[task] = path
                if not path:
                    self.books.servers.pop(task, None)
            case frames.Pong(lag=lag):
                self.lag = lag
            case frames.Ready(handlers=handlers):
                self.handlers, self.up, self._was_ready = handlers, True, True
            case frames.Broken(problem=problem):
                if self._was_ready:  # it could be imported before: not the configuration, but the moment
                    raise ExecutorDied(f"{self.name} can't be started again: {problem}")
                raise ConfigurationError(problem.splitlines() or ["the app can't be imported"])

    def _holds(self, task: int, attempt: int) -> bool:
        entry = self.books.held.get(task)
        return entry is not None and entry.attempt == attempt

    # --- looking after it ---------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Pings it, and ends it when it is stalled or when an attempt does not leave."""
        while True:
            self._nudge = trio.Event()
            now = trio.current_time()
            self.look_after(now)
            self._tend_at = max(
                now + 0.01, min(now + self._limits.ping, self.books.next_due(self._limits.cancel_grace))
            )
            with trio.move_on_at(self._tend_at):
                await self._nudge.wait()
            if self._asked_at is not None and trio.current_time() - self._tend_at > FROZEN:
                self._asked_at = trio.current_time()  # we were frozen ourselves: its silence says nothing

    def look_after(self, now: float) -> None:
        """One round of it."""
        late = self.books.overdue(now, self._limits.cancel_grace)
        if late and self._take_rest():  # this process may have been late, and not they
            late = self.books.overdue(now, self._limits.cancel_grace)
        if late:
            self._kill(f"was killed because {len(late)} attempts did not leave", late)
        elif self.silent_for(now) > self._limits.stall:
            # A silent executor can't say whose time is over: what is, by what was seen of it, is no crash.
            self._kill(f"was silent for {self._limits.stall:g} s", {})
        elif now - self._pinged_at >= (0 if self.books.held else self._limits.idle_ping):
            self._pinged_at = now
            self._pings += 1
            self._send(frames.Ping(self._pings))
            if self._asked_at is None:
                self._asked_at = now

    def _take_rest(self) -> bool:
        """Takes what was sent and not read yet; False when there was nothing, or nothing of use."""
        data = self._child.receive_rest() if self._child is not None else b""
        return bool(data) and self._take_all(data)

    def _kill(self, trouble: str, sentenced: dict[int, Outcome]) -> None:
        if self._child is not None and self._trouble is None:
            log.warning("%s (pid %d) %s", self.name, self._child.pid, trouble)
            self._trouble, self._sentenced = trouble, sentenced
            self._child.kill()

    async def _watch_exit(self, child: Child, scope: trio.CancelScope) -> None:
        """The end of the process counts, also when something that it started holds its socket open."""
        await child.wait()
        await trio.sleep(LAST_BYTES)
        scope.cancel("the process has ended")

    async def _end(self, child: Child) -> None:
        """Politely, if nothing runs in it; then by force, with everything that it started."""
        if not self.held and self._trouble is None:
            self._send(frames.Leave())
            with trio.move_on_after(self._limits.leave, shield=True):
                await child.wait()
        child.kill()

    async def _bury(self, child: Child) -> tuple[Death, bool]:
        """Accounts for everything that it held; whether it held anything."""
        code: int | None = None
        with trio.move_on_after(1, shield=True):
            code = await child.wait()
        if self._was_ready and self._trouble is None:
            self._take_all(child.receive_rest())  # outcomes that it had sent count
        death, worked = Death(child.pid, code, self._trouble, child.begun), bool(self.books.held)
        child.close()
        self._child = None
        if worked:
            if self._sentenced:
                outcomes = after_kill(self.books, self._sentenced, death)
            elif code is None or trio.current_effective_deadline() == -float("inf"):
                outcomes = handed_back(self.books, "the worker stops")
            else:
                outcomes = after_crash(self.books, death, lease_over=self._owner.lease_over)
            self._owner.ended(outcomes)
        return death, worked
