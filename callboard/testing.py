"""Runs a handler as an executor would, without one: for tests of handlers.

::

    ran = run(thumbnail, {"url": "..."})
    assert ran.outcome == "succeeded" and ran.result == {...}

    ctx = fake_context(attempt=2)
    await thumbnail(ctx, "...")
    assert ctx.reported[-1].done == 3
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import trio

from callboard.context import Context, Done
from callboard.definition import Definition
from callboard.errors import CancelReason
from callboard.executor.bodies import InvalidResult, as_dict, encode_result, failure, judge, stopped
from callboard.executor.handler import Handler
from callboard.executor.outcomes import Outcome
from callboard.registry import definition_of

__all__ = ["FakeContext", "Ran", "fake_context", "run", "run_async"]


class _Bench:
    """Stands where the executor would."""

    def __init__(self, timeout: float | None) -> None:
        self.deadline = None if timeout is None else datetime.now(UTC) + timedelta(seconds=timeout)
        self.stopped: CancelReason | None = None
        self.reported: list[Done] = []
        self.served: list[Callable[..., Any]] = []

    def report(self, progress: Done) -> None:
        self.reported.append(progress)

    async def serve(self, app: Callable[..., Any]) -> None:
        self.served.append(app)
        await trio.sleep_forever()


class FakeContext(Context):
    """A Context without an executor; remembers what it was told."""

    __slots__ = ("_bench",)

    def __init__(self, task_id: str, attempt: int, bench: _Bench) -> None:
        super().__init__(task_id, attempt, bench)
        self._bench = bench

    @property
    def reported(self) -> list[Done]:
        """Every progress value, none left out."""
        return self._bench.reported

    @property
    def served(self) -> list[Callable[..., Any]]:
        """The apps given to `serve`, which then sleeps until it is cancelled."""
        return self._bench.served

    def cancel(self, reason: CancelReason = CancelReason.CANCELLED) -> None:
        """What `cancelled` and `check_cancelled` say from now on."""
        self._bench.stopped = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one attempt ended with."""

    outcome: str  # succeeded, failed, failed_final, timed_out, cancelled, snoozed
    result: Any = None  # as it comes back from JSON
    error: Mapping[str, Any] | None = None  # type, message, traceback, after
    progress: list[Done] = field(default_factory=list)


def fake_context(task_id: str = "1", attempt: int = 1, timeout: float | None = None) -> FakeContext:
    """To call a handler's function by hand. `timeout`: seconds until its `deadline`, which nobody enforces."""
    return FakeContext(task_id, attempt, _Bench(timeout))


def run(
    function: Callable[..., Any],
    args: Mapping[str, Any] | None = None,
    *,
    context: FakeContext | None = None,
    timeout: float | None = None,
) -> Ran:
    """One attempt of a decorated function, in a Trio loop of its own; see `run_async`."""

    async def main() -> Ran:
        return await run_async(function, args, context=context, timeout=timeout)

    return trio.run(main)


async def run_async(
    function: Callable[..., Any],
    args: Mapping[str, Any] | None = None,
    *,
    context: FakeContext | None = None,
    timeout: float | None = None,
) -> Ran:
    """One attempt: arguments through JSON and checked, timeout enforced, result and errors as a worker reports them.

    `timeout`: seconds; default: the decorator's. Raises LookupError for a function that is no handler.
    """
    definition = definition_of(function)
    ctx = context or fake_context(timeout=timeout or definition.timeout)
    kind, body = await _attempt(definition, msgspec.json.encode(args or {}), ctx, timeout or definition.timeout)
    outcome = kind.name.lower()
    if kind is Outcome.SUCCEEDED:
        return Ran(outcome=outcome, result=msgspec.json.decode(body), progress=ctx.reported)
    return Ran(outcome=outcome, error=as_dict(body), progress=ctx.reported)


async def _attempt(
    definition: Definition, payload: bytes, ctx: FakeContext, timeout: float | None
) -> tuple[Outcome, bytes]:
    handler = Handler(definition, trio.CapacityLimiter(1))
    try:
        decoded = handler.decode(payload)
    except (ValueError, RecursionError) as error:
        return Outcome.FAILED_FINAL, failure("InvalidArguments", str(definition.arguments.explain(payload, error)))
    with trio.move_on_after(float("inf") if timeout is None else timeout) as scope:
        try:
            value = await handler.start((ctx,) if handler.wants_context else (), decoded)
        except trio.Cancelled:
            raise
        except BaseException as error:
            if ctx.cancelled is not None:
                return stopped(ctx.cancelled)
            return stopped(CancelReason.TIMEOUT) if scope.cancel_called else judge(error)
        try:
            return Outcome.SUCCEEDED, encode_result(value)
        except InvalidResult as error:
            return Outcome.FAILED_FINAL, failure(error.kind, str(error))
    return stopped(CancelReason.TIMEOUT)
