"""callboard.v1.Scheduler: tasks for clients that speak gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import trio

from actors.model.errors import BadValue, NotFound
from actors.model.ports import Submitted, TaskStore
from actors.model.submission import BATCH
from actors.model.task import FINAL, NewTask
from protos.generated.callboard import v1 as wire
from transport import tasks as form
from transport.service import Service, unary
from transport.status import to_grpc
from transport.wire import MAX_MESSAGE

MAX_WAIT = 60.0  # seconds that Get may be held
PAGE_BYTES = MAX_MESSAGE - 16 * 1024  # of tasks in one page

Submit = Callable[[Sequence[NewTask]], Awaitable[list[Submitted | Exception]]]
WaitFinal = Callable[[int], Awaitable[None]]  # Trio-flavoured; returns when the task is final or gone


class SchedulerService(Service):
    """Every method is Trio-flavoured."""

    def __init__(self, store: TaskStore, submit: Submit, wait_final: WaitFinal, token: str | None) -> None:
        super().__init__("Scheduler")
        self._store, self._submit, self._wait_final = store, submit, wait_final
        self.add("Submit", unary(self.submit, wire.SubmitRequest, wire.SubmitReply, token))
        self.add("Get", unary(self.get, wire.GetTaskRequest, wire.Task, token))
        self.add("List", unary(self.list, wire.ListTasksRequest, wire.ListTasksReply, token))
        self.add("Cancel", unary(self.cancel, wire.CancelTaskRequest, wire.CancelTaskReply, token))
        self.add("Retry", unary(self.retry, wire.RetryTaskRequest, wire.RetryTaskReply, token))

    async def submit(self, request: wire.SubmitRequest) -> wire.SubmitReply:
        """Whatever can't be is told at its place; the rest is stored all the same."""
        if len(request.tasks) > BATCH:
            raise BadValue("tasks", f"at most {BATCH} a call, got {len(request.tasks)}")
        now = datetime.now(UTC)
        made: list[NewTask | BadValue] = []
        for task in request.tasks:
            try:
                made.append(form.new_task_from_wire(task, now))
            except BadValue as error:
                made.append(error)
        good = [one for one in made if isinstance(one, NewTask)]
        stored = iter(await self._submit(good) if good else [])
        return wire.SubmitReply(answers=[_answer(one if isinstance(one, BadValue) else next(stored)) for one in made])

    async def get(self, request: wire.GetTaskRequest) -> wire.Task:
        task_id = form.task_id(request.id)
        if not 0 <= request.wait <= MAX_WAIT:
            raise BadValue("wait", f"must be seconds from 0 to {MAX_WAIT:g}, got {request.wait}")
        task = await self._store.get(task_id)
        if task is not None and task.state not in FINAL and request.wait:
            with trio.move_on_after(request.wait):
                await self._wait_final(task_id)
            task = await self._store.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        return form.task_to_wire(task)

    async def list(self, request: wire.ListTasksRequest) -> wire.ListTasksReply:
        limit, before = form.page_from_wire(request)
        found = await self._store.find(form.filter_from_wire(request), limit=limit + 1, before_id=before)
        items: list[wire.Task] = []
        size = 0
        for task in found[:limit]:
            item = form.task_to_wire(task)
            size += len(bytes(item)) + 8
            if items and size > PAGE_BYTES:
                break
            items.append(item)
        more = len(found) > len(items)
        return wire.ListTasksReply(items=items, next_cursor=str(items[-1].id) if more else "")

    async def cancel(self, request: wire.CancelTaskRequest) -> wire.CancelTaskReply:
        return wire.CancelTaskReply(state=await self._store.cancel(form.task_id(request.id)))

    async def retry(self, request: wire.RetryTaskRequest) -> wire.RetryTaskReply:
        made = await self._store.retry(form.task_id(request.id), submitted_by=form.submitter(request.submitted_by))
        return wire.RetryTaskReply(id=made)


def _answer(answer: Submitted | Exception) -> wire.Submitted:
    if isinstance(answer, Submitted):
        return wire.Submitted(id=answer.id, created=answer.created)
    told = to_grpc(answer)
    return wire.Submitted(status=told.status.value, error=told.message or "")
