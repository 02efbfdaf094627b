"""A TaskStore in a dict: for the shapes of HTTP answers, not for what PostgreSQL does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import trio

from actors.model.errors import Conflict, IdempotencyConflict, NotFound, StorageUnavailable
from actors.model.ports import Submitted, TaskFilter, TaskPatch, TaskRoute
from actors.model.task import FINAL, Attempt, NewTask, Task, TaskState, shown_state
from actors.model.worker import CoordinatorView, WorkerView


def a_task(task_id: int = 1, **fields: Any) -> Task:
    now = datetime.now(UTC)
    plain: dict[str, Any] = {
        "id": task_id, "name": "job", "queue": "default", "state": TaskState.QUEUED, "args": {}, "priority": 2,
        "attempt": 0, "tries": 0, "max_tries": 4, "crashes": 0, "snoozes": 0, "undelivered": 0, "run_at": now,
        "created_at": now, "assigned_at": None, "started_at": None, "finished_at": None, "timeout": None,
        "expires_at": None, "exclusive": False, "retry_on_crash": True, "worker": None, "worker_http": None,
        "result": None, "error": None, "progress": None, "tags": [], "metadata": {}, "retry_of": None,
        "submitted_by": None, "cancel_requested_at": None, "now": now,
    }  # fmt: skip
    return Task(**{**plain, **fields})


def a_worker(worker_id: str = "w-1", **fields: Any) -> WorkerView:
    now = datetime.now(UTC)
    plain: dict[str, Any] = {
        "id": worker_id, "name": "w", "state": "live", "slots": 10, "running": 0, "queues": [], "handlers": ["job"],
        "labels": {}, "version": "1", "address": "http://127.0.0.1:1", "connected_at": now, "last_seen": now,
        "health": {}, "coordinator": "c-1", "paused": False, "drain_requested": False,
        "lease_until": now + timedelta(seconds=8), "now": now,
    }  # fmt: skip
    return WorkerView(**{**plain, **fields})


class FakeStore:
    """Set `away` to make every call raise StorageUnavailable."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.keys: dict[str, tuple[bytes | None, int]] = {}
        self.routes: dict[int, TaskRoute] = {}
        self.views: dict[str, WorkerView] = {"w-1": a_worker()}
        self.handlers: dict[str, bool] = {"job": True}
        self.history: dict[int, list[Attempt]] = {}
        self.away = False
        self.error: Exception | None = None
        self.asked: list[Sequence[int]] = []  # of final_among

    async def _here(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        if self.away:
            raise StorageUnavailable("secret host 10.0.0.1 refuses")

    async def submit_bound(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        return await self.submit(tasks)

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        await self._here()
        return [self._store(task) for task in tasks]

    def _store(self, task: NewTask) -> Submitted | Exception:
        known = self.keys.get(task.idempotency_key or "")
        if known is not None:
            same = known[0] == task.request_hash
            return Submitted(known[1], False) if same else IdempotencyConflict("used with another body")
        number = len(self.tasks) + 1
        now = datetime.now(UTC)
        self.tasks[number] = a_task(
            number, name=task.name, args=msgspec.json.decode(task.args), queue=task.queue or "default",
            priority=task.priority, run_at=task.run_at or now + timedelta(seconds=task.delay or 0),
            tags=list(task.tags), metadata=dict(task.metadata), max_tries=task.max_tries or 4, now=now,
        )  # fmt: skip
        if task.idempotency_key:
            self.keys[task.idempotency_key] = (task.request_hash, number)
        return Submitted(number, True)

    async def key_hash(self, key: str) -> bytes | None:
        await self._here()
        return self.keys[key][0] if key in self.keys else None

    async def get(self, task_id: int) -> Task | None:
        await self._here()
        return self.tasks.get(task_id)

    async def find(self, where: TaskFilter, *, limit: int, before_id: int | None) -> list[Task]:
        await self._here()
        found = [
            task
            for task in sorted(self.tasks.values(), key=lambda one: -one.id)
            if (before_id is None or task.id < before_id)
            and (not where.states or shown_state(task) in where.states)
            and (where.name is None or task.name == where.name)
            and (where.tag is None or where.tag in task.tags)
            and all(task.metadata.get(key) == value for key, value in where.metadata.items())
        ]
        return found[:limit]

    async def patch(self, task_id: int, patch: TaskPatch) -> Task:
        task = await self._existing(task_id)
        if task.state is not TaskState.QUEUED:
            raise Conflict(f"task {task_id} is {task.state}", state=task.state)
        changes: dict[str, Any] = {name: getattr(patch, name) for name in patch.fields}
        if "run_at" in changes and changes["run_at"] is None:
            changes["run_at"] = task.now
        if changes.get("queue", "") is None:
            changes["queue"] = "default"
        self.tasks[task_id] = replace(task, **changes)
        return self.tasks[task_id]

    async def cancel(self, task_id: int) -> str:
        task = await self._existing(task_id)
        if task.state is TaskState.RUNNING:
            self.tasks[task_id] = replace(task, cancel_requested_at=task.now)
            return "cancelling"
        if task.state in FINAL and task.state is not TaskState.CANCELLED:
            raise Conflict(f"task {task_id} is {task.state} already", state=task.state)
        self.finish(task_id, TaskState.CANCELLED)
        return "cancelled"

    async def retry(self, task_id: int, *, submitted_by: str | None, with_children: bool = False) -> int:
        task = await self._existing(task_id)
        if task.state not in FINAL:
            raise Conflict(f"task {task_id} is {task.state}", state=task.state)
        number = len(self.tasks) + 1
        self.tasks[number] = replace(task, id=number, state=TaskState.QUEUED, retry_of=task_id, finished_at=None)
        return number

    async def attempts(self, task_id: int) -> list[Attempt]:
        await self._here()
        return self.history.get(task_id, [])

    async def route(self, task_id: int) -> TaskRoute | None:
        await self._here()
        return self.routes.get(task_id)

    async def final_among(self, task_ids: Sequence[int]) -> set[int]:
        await self._here()
        self.asked.append(list(task_ids))
        return {number for number in task_ids if number not in self.tasks or self.tasks[number].state in FINAL}

    async def known_handlers(self) -> dict[str, bool]:
        await self._here()
        return dict(self.handlers)

    async def stats(self) -> dict[str, Any]:
        await self._here()
        queue = {"name": "default", "depth": len(self.tasks), "due": 1, "oldest_age": 2.5}
        return {"tasks": {"queued": len(self.tasks)}, "queues": [queue], "workers": {"live": 1}}

    async def prune(self, limit: int) -> int:
        return 0

    async def workers(self, *, include_ended: bool = False) -> list[WorkerView]:
        await self._here()
        return list(self.views.values())

    async def worker(self, worker_id: str) -> WorkerView | None:
        await self._here()
        return self.views.get(worker_id)

    async def set_worker(self, worker_id: str, *, paused: bool | None = None, drain: bool | None = None) -> WorkerView:
        await self._here()
        if worker_id not in self.views:
            raise NotFound(f"worker {worker_id} does not exist")
        wishes = {"paused": paused, "drain_requested": drain}
        given: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
        self.views[worker_id] = replace(self.views[worker_id], **given)
        return self.views[worker_id]

    async def coordinators(self) -> list[CoordinatorView]:
        await self._here()
        now = datetime.now(UTC)
        return [
            CoordinatorView(
                id="c-1", address="http://127.0.0.1:8081", version="1", started_at=now, seen_until=now, alive=True,
                workers=1,
            )
        ]  # fmt: skip

    def finish(self, task_id: int, state: TaskState = TaskState.SUCCEEDED, result: Any = None) -> None:
        task = self.tasks[task_id]
        self.tasks[task_id] = replace(task, state=state, finished_at=task.now, result=result)

    async def _existing(self, task_id: int) -> Task:
        await self._here()
        if task_id not in self.tasks:
            raise NotFound(f"task {task_id} does not exist")
        return self.tasks[task_id]


class FakeWakeups:
    def __init__(self) -> None:
        self._senders: dict[str, list[trio.MemorySendChannel[None]]] = {}

    def subscribe(self, topic: str) -> trio.MemoryReceiveChannel[None]:
        send, receive = trio.open_memory_channel[None](1)
        self._senders.setdefault(topic, []).append(send)
        return receive

    def notify(self, topic: str) -> None:
        for sender in self._senders.get(topic, []):
            try:
                sender.send_nowait(None)
            except trio.WouldBlock:
                pass
