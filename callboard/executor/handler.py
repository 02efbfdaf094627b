"""A definition made ready for many calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from callboard.definition import Definition

Before = tuple[Any, ...]  # the Context, or nothing
Call = Callable[[Before, Any], Any]
Start = Callable[[Before, Any], Awaitable[Any]]


class Handler:
    """`start(before, decoded)` gives an awaitable; whether that runs in a thread is no concern of the caller's."""

    __slots__ = ("decode", "definition", "name", "start", "wants_context")

    def __init__(self, definition: Definition, limiter: trio.CapacityLimiter) -> None:
        self.definition = definition
        self.name = definition.name
        self.wants_context = definition.wants_context
        self.decode = definition.arguments.decode
        call: Call = partial(definition.arguments.binder, definition.function)
        self.start: Start = call if definition.is_async else _in_thread(call, limiter)


def _in_thread(call: Call, limiter: trio.CapacityLimiter) -> Start:
    async def start(before: Before, decoded: Any) -> Any:
        # Never abandoned: an attempt has ended only when its thread has left. A stop reaches the thread
        # through ctx.check_cancelled() and trio.from_thread.check_cancelled().
        return await trio.to_thread.run_sync(call, before, decoded, abandon_on_cancel=False, limiter=limiter)

    return start
