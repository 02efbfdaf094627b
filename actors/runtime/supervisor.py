"""Supervision: restart what crashes, within limits. Nesting is the strategy.

One for one: a `keep_running` task for each child. One for all: `keep_running` around a function that
starts them all in one nursery. Rest for one: `keep_running` inside the nursery of the first child.
A missing database or peer is the child's own business; a crash is the supervisor's.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from actors.model.errors import ConfigurationError, RestartLimitReached
from actors.runtime import chance
from actors.runtime.tree import TreeNode

log = logging.getLogger(__name__)


class Run(Protocol):
    """An actor's life: calls ``task_status.started()`` when it can serve, ends when cancelled."""

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Give up when more than `intensity` restarts fall within `period` seconds."""

    intensity: int = 5
    period: float = 60.0
    first_delay: float = 0.1
    max_delay: float = 5.0

    def delay(self, restarts: int) -> float:
        """Seconds before the restart; `restarts` counts those within the window."""
        ceiling = min(self.max_delay, self.first_delay * 2.0 ** (restarts - 1))
        return chance.uniform(0.5, 1.0) * ceiling


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def describe(error: BaseException) -> str:
    """One line; of a group, its leaves."""
    return "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))


async def keep_running(
    name: str,
    run: Run,
    policy: RestartPolicy,
    *,
    node: TreeNode | None = None,
    on_crash: Callable[[Exception], None] | None = None,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs `run` until it returns; restarts it when it raises.

    Raises RestartLimitReached when the policy's intensity is exceeded. Cancelled passes straight through, and
    so does ConfigurationError: another start would say the same.
    """
    node = node if node is not None else TreeNode(name)
    while True:
        try:
            node.enter("starting")
            async with trio.open_nursery() as incarnation:
                value = await incarnation.start(run)
                node.enter("running")
                task_status.started(value)
                task_status = trio.TASK_STATUS_IGNORED
            node.enter("stopped")
            return
        except Exception as error:
            # Before any await: a Cancelled raised by the sleep below would replace the crash.
            node.last_error = describe(error)[:500]
            mistaken = any(isinstance(leaf, ConfigurationError) for leaf in leaves(error))
            if not mistaken:  # else it travels on, to where it is said in its own words
                log.error("%s crashed: %s", name, node.last_error, exc_info=error)
            if on_crash is not None:
                on_crash(error)
            if mistaken:
                node.enter("gave_up")
                raise
            now = trio.current_time()
            node.restarts.append(now)
            node.restarts_total += 1
            while node.restarts and node.restarts[0] < now - policy.period:
                node.restarts.popleft()
            if len(node.restarts) > policy.intensity:
                node.enter("gave_up")
                raise RestartLimitReached(
                    f"{name} crashed {len(node.restarts)} times in {policy.period:g} s; last: {node.last_error}"
                ) from error
            node.enter("backing_off")
            await trio.sleep(policy.delay(len(node.restarts)))
