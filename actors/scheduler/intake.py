"""Takes submissions through its mailbox and commits them in groups.

One transaction runs at a time; whatever arrives meanwhile is the next group. So a lone submission pays
one commit, and a thousand concurrent ones share it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from actors.model.errors import ActorCrashed, BadValue, StorageError, StorageUnavailable
from actors.model.ports import Submitted, TaskStore
from actors.model.task import NewTask
from actors.runtime import probe
from actors.runtime.mailbox import Address, Reply, drain_into
from actors.scheduler.backlog import Backlog

log = logging.getLogger(__name__)

CRASHED = "the intake crashed; repeat the submission with the same Idempotency-Key"

Answers = list[Submitted | Exception]
# Stores and assigns at once; None: it does not fit now, and nothing was done.
Express = Callable[[Sequence[NewTask]], Awaitable[Answers | None]]


@dataclass(frozen=True, slots=True)
class Submit:
    tasks: Sequence[NewTask]
    reply: Reply[Answers] = field(default_factory=Reply)

    @property
    def is_bound(self) -> bool:
        """All of it is stored or nothing, by itself: it depends on what is there already."""
        return any(task.is_bound for task in self.tasks)


class Intake:
    """The actor. `submit` is its public question."""

    # Requests that may wait for the next group; more are refused at once, so that a flood is told, not stored.
    CAPACITY = 2_000
    GROUP = 10_000  # tasks a transaction; a larger group only lengthens everybody's wait

    def __init__(self, store: TaskStore, *, limit: float = 10.0) -> None:
        self._store, self._limit = store, limit
        self.address = Address[Submit](self.CAPACITY)
        self.backlog: Backlog | None = None
        self.express: Express | None = None  # of a coordinator in this process

    async def submit(self, tasks: Sequence[NewTask]) -> Answers:
        """One answer a task, after the commit. Raises StorageUnavailable when it can't be stored now, QueueFull."""
        if self.backlog is not None:
            self.backlog.check(tasks)
        message = Submit(tasks)
        try:
            self.address.tell_nowait(message)
        except trio.WouldBlock:
            raise StorageUnavailable("too many submissions are waiting for the database") from None
        with trio.move_on_after(self._limit) as scope:
            return await message.reply.wait()
        assert scope.cancelled_caught
        raise StorageUnavailable("the outcome of the submission is unknown; repeat it with the same Idempotency-Key")

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        with self.address.inbox.clone() as inbox:
            task_status.started()
            async for first in inbox:
                await self._commit(drain_into(inbox, first, self.GROUP // 10))

    async def _commit(self, group: list[Submit]) -> None:
        """Commits a group; a group of more than GROUP tasks goes in several transactions."""
        try:
            group.sort(key=lambda message: message.is_bound)
            while group:
                part = [group.pop(0)]
                size = len(part[0].tasks)
                while group and size + len(group[0].tasks) <= self.GROUP and part[0].is_bound == group[0].is_bound:
                    size += len(group[0].tasks)
                    part.append(group.pop(0))
                await self._commit_part(part)
        except Exception:
            for message in group:
                message.reply.fail(ActorCrashed(CRASHED))
            raise

    async def _express(self, tasks: Sequence[NewTask]) -> Answers | None:
        return None if self.express is None else await self.express(tasks)

    async def _commit_part(self, part: list[Submit]) -> None:
        try:
            tasks = [task for message in part for task in message.tasks]
            if probe.armed is not None:
                await probe.armed.reach("submit.before_commit")
            if part[0].is_bound:
                answers = await self._store.submit_bound(tasks)
            else:
                answers = await self._express(tasks) or await self._store.submit(tasks)
            if probe.armed is not None:
                await probe.armed.reach("submit.after_commit")
        except BadValue as error:
            if len(part) > 1:  # one of them is wrong: each by itself
                for message in part:
                    await self._commit_part([message])
            else:
                part[0].reply.fail(error)
            return
        except StorageError as error:
            for message in part:
                message.reply.fail(error)
            return
        except Exception:
            for message in part:
                message.reply.fail(ActorCrashed(CRASHED))
            raise
        start = 0
        for message in part:
            message.reply.send(answers[start : start + len(message.tasks)])
            start += len(message.tasks)
