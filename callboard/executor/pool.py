"""Runs attempts: a few runner tasks over one queue.

A runner calls handlers one after another in its own Trio task and inside its own cancel scope, so that a handler
which doesn't block costs neither a new task nor a switch. The runner retires as soon as something could be left
over for the next handler (an exception, a cancelled scope, a changed context variable), and a new one takes its
place.
"""

from __future__ import annotations

import contextvars
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import trio

from callboard.context import Context
from callboard.errors import CancelReason
from callboard.executor.attempt import Attempt, Office
from callboard.executor.bodies import InvalidResult, encode_result, failure, judge, stopped
from callboard.executor.frames import Run
from callboard.executor.handler import Handler
from callboard.executor.outbox import Outbox
from callboard.executor.outcomes import Outcome
from callboard.executor.page import Page

log = logging.getLogger(__name__)

SLICE = 0.005  # seconds for which runners go on before they let the reader and the writer have a turn
BATCH = 200  # outcomes after which they do so earlier


class Runner:
    """One of at most `slots` tasks."""

    __slots__ = ("current", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.current: Attempt | None = None


class Pool:
    """Everything here happens on Trio's thread."""

    def __init__(self, handlers: Mapping[str, Handler], slots: int, outbox: Outbox, page: Page | None = None) -> None:
        self.queue: deque[Attempt] = deque()
        self.runners: set[Runner] = set()
        self.on_work: Callable[[], None] = _nothing  # something waits or began: somebody may want to watch it
        self.refusal: CancelReason | None = None  # set: nothing may start
        self._handlers, self._slots, self._outbox, self._page = handlers, slots, outbox, page
        self._given = 0  # attempts, in all
        self._known: dict[int, Attempt] = {}  # task id → its newest attempt here, waiting or running
        self._parked = trio.lowlevel.ParkingLot()
        self._slice_end = 0.0
        self._clean = contextvars.copy_context()
        self._nursery: trio.Nursery | None = None

    @property
    def running(self) -> int:
        return sum(runner.current is not None for runner in self.runners)

    @property
    def is_idle(self) -> bool:
        return not self.queue and not self.running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def add(self, run: Run, office: Office) -> None:
        """Queues what was assigned."""
        now, begin, known = time.monotonic(), 0, self._known
        handlers = [self._handlers.get(name) for name in run.names]
        for id, number, which, timeout, size in zip(
            run.ids, run.attempts, run.name_index, run.timeouts, run.sizes, strict=True
        ):
            payload = run.payloads[begin : begin + size]
            begin += size
            self._given += 1
            attempt = Attempt(office, handlers[which], run.key, id, number, timeout / 1000, payload, now, self._given)
            older = known.get(id)
            if older is not None:  # superseded: it lost its lease, or this would not be here
                self._stop(older, CancelReason.SESSION)
            known[id] = attempt
            if handlers[which] is None:
                what = f"no handler is named {run.names[which]!r} here"
                self._end(attempt, Outcome.REFUSED, failure("UnknownHandler", what))
            elif self.refusal is not None:
                self._end(attempt, *stopped(self.refusal))
            else:
                self.queue.append(attempt)
        if self.queue:
            self._staff()
            self.on_work()

    def _staff(self) -> None:
        """Wakes or hires as many runners as there is work for."""
        wanted = len(self.queue)
        if wanted and self._parked:
            woken = self._parked.unpark(count=wanted)
            wanted -= len(woken)
        while wanted > 0 and len(self.runners) < self._slots:
            runner = Runner()
            self.runners.add(runner)
            assert self._nursery is not None
            self._clean.copy().run(self._nursery.start_soon, self._run, runner)
            wanted -= 1

    def stop(self, ids: Iterable[int], reason: CancelReason) -> None:
        """Ends those that wait, and tells those that run."""
        for id in ids:
            attempt = self._known.get(id)
            if attempt is not None:
                self._stop(attempt, reason)

    def stop_all(self, reason: CancelReason) -> None:
        self.stop(list(self._known), reason)

    def _stop(self, attempt: Attempt, reason: CancelReason) -> None:
        attempt.stop(reason)
        if attempt.scope is None:
            self._end(attempt, *stopped(reason))

    def release_late(self, limit: float) -> None:
        """Hands back what has waited for a slot for `limit` seconds."""
        latest = time.monotonic() - limit
        while self.queue and (self.queue[0].ended or self.queue[0].queued_at <= latest):
            attempt = self.queue.popleft()
            if not attempt.ended:
                message = f"no slot became free within {limit:g} s"
                self._end(attempt, Outcome.RELEASED, failure("NoSlot", message))

    def _end(self, attempt: Attempt, kind: int, body: bytes) -> None:
        """Exactly once for each attempt."""
        attempt.ended = True
        if self._known.get(attempt.id) is attempt:
            del self._known[attempt.id]
        self._outbox.add(attempt, kind, body)

    async def _run(self, runner: Runner) -> None:
        trouble: BaseException | None = None
        try:
            with runner.scope:
                await self._work(runner)
        except trio.Cancelled:
            if runner.current is None or trio.current_effective_deadline() == -math.inf:
                raise  # the process ends
            trouble = RuntimeError("the handler raised a Cancelled that came from elsewhere")
        except BaseException as error:  # also SystemExit and KeyboardInterrupt: a failure of the attempt alone
            trouble = error
        self.runners.discard(runner)
        attempt = runner.current
        if attempt is not None:
            self._end(attempt, *_ending(attempt, runner.scope, trouble))
        elif trouble is not None:
            log.error("a handler left cancel scopes open that it had entered", exc_info=trouble)
        self._staff()

    async def _work(self, runner: Runner) -> None:
        """Returns when something could be left over for the next handler; raises what a handler raised."""
        queue, scope, outbox, clean, page = self.queue, runner.scope, self._outbox, self._clean, self._page
        while True:
            while not queue:
                if scope.deadline != math.inf:
                    scope.deadline = math.inf
                await self._parked.park()
            attempt = queue.popleft()
            if attempt.ended:
                continue
            handler = attempt.handler
            assert handler is not None
            try:
                decoded = handler.decode(attempt.payload)
            except (ValueError, RecursionError) as error:
                self._end(attempt, *_unfit(handler, attempt.payload, error))
                continue
            if page is not None:
                page.begun = attempt.sequence
            attempt.scope = scope
            runner.current = attempt
            if attempt.timeout:
                attempt.until = time.monotonic() + attempt.timeout
                scope.deadline = trio.current_time() + attempt.timeout
            elif scope.deadline != math.inf:  # of the attempt before; changing a deadline is dear
                scope.deadline = math.inf
            self.on_work()
            before = (Context(str(attempt.id), attempt.number, attempt),) if handler.wants_context else ()
            value = await handler.start(before, decoded)
            try:
                body = encode_result(value)
            except InvalidResult as error:
                self._end(attempt, Outcome.FAILED_FINAL, failure(error.kind, str(error)))
            else:
                self._end(attempt, Outcome.SUCCEEDED, body)  # also in spite of a stop: what is done is done
            runner.current = None
            if scope.cancel_called or contextvars.copy_context() != clean:
                return
            if time.monotonic() >= self._slice_end or outbox.outcomes >= BATCH:
                await self._give_turn()

    async def _give_turn(self) -> None:
        """All runners share one slice, however many there are."""
        await trio.lowlevel.checkpoint()
        now = time.monotonic()
        if now >= self._slice_end:
            self._slice_end = now + SLICE


def _ending(attempt: Attempt, scope: trio.CancelScope, trouble: BaseException | None) -> tuple[Outcome, bytes]:
    """A stop outranks whatever the handler raised after it."""
    if attempt.reason is not None:
        return stopped(attempt.reason)
    if trouble is None or scope.cancel_called:
        return stopped(CancelReason.TIMEOUT)
    return judge(trouble)


def _unfit(handler: Handler, payload: bytes, error: Exception) -> tuple[Outcome, bytes]:
    message = str(handler.definition.arguments.explain(payload, error))
    return Outcome.FAILED_FINAL, failure("InvalidArguments", message)


def _nothing() -> None:
    """Until a watch is connected."""
