"""The part of callboard.v1.Scheduler about queues. What may be said of one, actors.model.queue_fields says."""

from __future__ import annotations

import json

from actors.model.errors import NotFound
from actors.model.queue import QueueStore, QueueView, Rate
from actors.model.queue_fields import is_queue, read_queue
from actors.model.wrong import shown
from protos.generated.callboard import v1 as wire
from transport import tasks as form
from transport.service import Service, unary


class QueueCalls:
    """Every method is Trio-flavoured; `add_to` puts them into a service."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store

    def add_to(self, service: Service, token: str | None) -> None:
        service.add("ListQueues", unary(self.list, wire.ListQueuesRequest, wire.ListQueuesReply, token))
        service.add("GetQueue", unary(self.get, wire.QueueName, wire.Queue, token))
        service.add("SetQueue", unary(self.set, wire.SetQueueRequest, wire.Queue, token))

    async def list(self, request: wire.ListQueuesRequest) -> wire.ListQueuesReply:
        return wire.ListQueuesReply(items=[_queue(one) for one in await self._store.queues()])

    async def get(self, request: wire.QueueName) -> wire.Queue:
        return _queue(await self._store.queue(_named(request.name)))

    async def set(self, request: wire.SetQueueRequest) -> wire.Queue:
        patch, found = read_queue(form.json_value("change", request.change))
        if patch is None:
            raise form.bad(found)
        return _queue(await self._store.set_queue(_named(request.name), patch))


def _named(name: str) -> str:
    """Raises NotFound: what can't be a name names no queue."""
    if not is_queue(name):
        raise NotFound(f"there is no queue {shown(name)}")
    return name


def _queue(view: QueueView) -> wire.Queue:
    settings = {
        "concurrency": view.concurrency,
        "concurrency_per_key": view.concurrency_per_key,
        "rate": _rate(view.rate),
        "rate_per_key": _rate(view.rate_per_key),
        "keep_succeeded": view.keep_succeeded,
        "keep_unsuccessful": view.keep_unsuccessful,
        "paused": view.paused,
        "paused_reason": view.paused_reason,
    }
    return wire.Queue(
        name=view.name,
        depth=view.depth,
        due=view.due,
        running=view.running,
        oldest_age=view.oldest,
        settings=json.dumps(settings, ensure_ascii=False, separators=(",", ":")),
    )


def _rate(rate: Rate | None) -> dict[str, float] | None:
    return None if rate is None else {"limit": rate.limit, "period": rate.period}
