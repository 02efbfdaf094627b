"""What a handler sees of the attempt that it works for."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, MutableMapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from callboard.errors import Cancelled, CancelReason

_log = logging.getLogger("callboard.task")


class Done(NamedTuple):
    """How far an attempt is."""

    done: float
    total: float | None
    message: str | None


class Host(Protocol):
    """What stands behind a Context: an executor, or a test."""

    @property
    def deadline(self) -> datetime | None: ...

    @property
    def stopped(self) -> CancelReason | None: ...

    def report(self, progress: Done) -> None: ...

    async def serve(self, app: Callable[..., Any]) -> None: ...


class Checkpoint:
    """Awaited, it gives others a turn and lets a cancel through; not awaited, it is nothing."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        import trio

        return trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 (awaited by whoever awaits this)


_CHECKPOINT = Checkpoint()


class TaskLog(logging.LoggerAdapter[logging.Logger]):
    """Puts the task and the attempt before each line, and into the record as `task_id` and `attempt`."""

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(_log, {"task_id": task_id, "attempt": attempt})
        self._prefix = f"task {task_id} attempt {attempt}: "

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return f"{self._prefix}{msg}", kwargs


class Context:
    """The first argument of a handler that wants one. Made by the executor; tests use `callboard.testing`."""

    __slots__ = ("_host", "_log", "attempt", "task_id")

    def __init__(self, task_id: str, attempt: int, host: Host) -> None:
        self.task_id = task_id  # the same for every attempt: an idempotency key
        self.attempt = attempt  # only grows: a fencing token for side effects
        self._host = host
        self._log: TaskLog | None = None

    @property
    def deadline(self) -> datetime | None:
        """When this attempt's timeout ends it; None without a timeout."""
        return self._host.deadline

    @property
    def log(self) -> TaskLog:
        """A standard logger that names the task and the attempt."""
        if self._log is None:
            self._log = TaskLog(self.task_id, self.attempt)
        return self._log

    @property
    def cancelled(self) -> CancelReason | None:
        """Why this attempt must stop; None while it may go on."""
        return self._host.stopped

    def check_cancelled(self) -> None:
        """Raises callboard.errors.Cancelled with the reason once the attempt must stop.

        For plain functions, which run in a thread and can't be interrupted: call it between two steps. An
        async handler needs no such call; Trio interrupts it at its next await.
        """
        reason = self._host.stopped
        if reason is not None:
            raise Cancelled(reason)

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> Checkpoint:
        """Shows how far the attempt is. At most about ten values a second are passed on; the last one always is.

        Works in async handlers (await it) and in plain functions (just call it). Raises ValueError for numbers
        that are not finite, TypeError for what is no number.
        """
        for name, value in (("done", done), ("total", total)):
            if value is None and name == "total":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"progress: {name} must be a number, got {value!r}")
            if not math.isfinite(value) or abs(value) > 2**53:
                raise ValueError(f"progress: {name} must be a finite number of at most 2**53, got {value!r}")
        if message is not None and not isinstance(message, str):
            raise TypeError(f"progress: message must be a string, got {message!r}")
        self._host.report(Done(done, total, message))
        return _CHECKPOINT

    async def serve(self, app: Callable[..., Any]) -> None:
        """Serves an ASGI app for as long as the attempt runs, reachable at the task's HTTP address.

        Only for async handlers. Doesn't return by itself: it ends when the attempt is cancelled, or when the
        handler cancels it (run it in a nursery, or under `trio.move_on_after`). Raises RuntimeError when
        Hypercorn isn't installed or when this attempt already serves an app.
        """
        await self._host.serve(app)
