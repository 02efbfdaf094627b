"""The calls that nodes make to each other, and a client of the scheduler."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from actors.model.ports import Submitted
from actors.model.task import NewTask
from protos.generated.callboard import v1 as wire
from transport.channel import ask, ask_all, open_channel
from transport.status import from_grpc
from transport.tasks import new_task_to_wire, task_as_dict


class SchedulerClient:
    """Tasks at another node. Every call raises what the status means (transport/status.py), or LinkLost."""

    def __init__(self, channel: Channel, address: str, token: str | None, limit: float) -> None:
        self._channel, self._address, self._token, self._limit = channel, address, token, limit

    async def _ask(self, method: str, message: Any, answer: type[Any], longer: float = 0.0) -> Any:
        return await ask(
            self._channel,
            self._address,
            f"Scheduler/{method}",
            message,
            answer,
            token=self._token,
            limit=self._limit + longer,
        )

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        """One answer a task, in order; an exception for one that could not be stored."""
        request = wire.SubmitRequest(tasks=[new_task_to_wire(task) for task in tasks])
        reply: wire.SubmitReply = await self._ask("Submit", request, wire.SubmitReply)
        return [_answer(one) for one in reply.answers]

    async def get(self, task_id: int, *, wait: float = 0.0) -> dict[str, Any]:
        """The task as the HTTP API shows it, ids as numbers; with `wait`, held until final for so many seconds."""
        return task_as_dict(await self._ask("Get", wire.GetTaskRequest(id=task_id, wait=wait), wire.Task, wait))

    async def list(
        self, *, states: Sequence[str] = (), name: str | None = None, limit: int = 0, cursor: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """(items, next cursor or an empty text)."""
        request = wire.ListTasksRequest(states=list(states), name=name, limit=limit, cursor=cursor)
        reply: wire.ListTasksReply = await self._ask("List", request, wire.ListTasksReply)
        return [task_as_dict(item) for item in reply.items], reply.next_cursor

    async def cancel(self, task_id: int) -> str:
        reply: wire.CancelTaskReply = await self._ask(
            "Cancel", wire.CancelTaskRequest(id=task_id), wire.CancelTaskReply
        )
        return reply.state

    async def retry(self, task_id: int, *, submitted_by: str | None = None) -> int:
        request = wire.RetryTaskRequest(id=task_id, submitted_by=submitted_by)
        reply: wire.RetryTaskReply = await self._ask("Retry", request, wire.RetryTaskReply)
        return reply.id


def _answer(answer: wire.Submitted) -> Submitted | Exception:
    if not answer.status:
        return Submitted(answer.id, answer.created)
    return from_grpc(GRPCError(Status(answer.status), answer.error), "the submission")


@asynccontextmanager
async def open_scheduler(
    address: str, token: str | None = None, *, limit: float = 10.0
) -> AsyncIterator[SchedulerClient]:
    """A connection to the scheduler at http://host:port; each call may take `limit` seconds. Raises LinkLost."""
    async with open_channel(address, limit) as channel:
        yield SchedulerClient(channel, address, token, limit)


async def fetch_supervision(address: str, token: str | None, limit: float) -> list[dict[str, Any]]:
    """The supervision trees of the node at http://host:port, within `limit` seconds. Raises LinkLost, AccessDenied."""
    deadline = trio.current_time() + limit
    async with open_channel(address, limit) as channel:
        left = max(0.05, deadline - trio.current_time())
        trees = await ask_all(
            channel,
            address,
            "Coordinator/Supervision",
            wire.SupervisionRequest(),
            wire.SupervisionTree,
            token=token,
            limit=left,
        )
    return [json.loads(tree.json) for tree in trees]
