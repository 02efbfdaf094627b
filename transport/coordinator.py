"""callboard.v1.Coordinator: workers and supervision, for operators and api nodes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.model.ports import TaskStore
from actors.model.worker import WorkerView, shown_worker_state
from protos.generated.callboard import v1 as wire
from transport.service import Service, answers, unary
from transport.tasks import json_text, time_text
from transport.wire import MAX_MESSAGE

log = logging.getLogger(__name__)

MAX_TREE = MAX_MESSAGE - 1024  # bytes of one tree

Supervision = Callable[[], Sequence[Mapping[str, Any]]]  # the live trees, this node's first


class CoordinatorService(Service):
    """Every method is Trio-flavoured."""

    def __init__(self, store: TaskStore, supervision: Supervision, token: str | None) -> None:
        super().__init__("Coordinator")
        self._store, self._supervision = store, supervision
        self.add("Workers", unary(self.workers, wire.WorkersRequest, wire.WorkersReply, token))
        self.add("Pause", unary(self.pause, wire.PauseRequest, wire.Worker, token))
        self.add("Drain", unary(self.drain, wire.DrainRequest, wire.Worker, token))
        self.add("Supervision", answers(self.supervision, wire.SupervisionRequest, wire.SupervisionTree, token))

    async def workers(self, request: wire.WorkersRequest) -> wire.WorkersReply:
        found = await self._store.workers(include_ended=request.include_ended)
        return wire.WorkersReply(workers=[worker_to_wire(one) for one in found])

    async def pause(self, request: wire.PauseRequest) -> wire.Worker:
        return worker_to_wire(await self._store.set_worker(request.worker, paused=request.paused))

    async def drain(self, request: wire.DrainRequest) -> wire.Worker:
        return worker_to_wire(await self._store.set_worker(request.worker, drain=True))

    async def supervision(self, request: wire.SupervisionRequest) -> list[wire.SupervisionTree]:
        return [wire.SupervisionTree(json=_tree(tree)) for tree in self._supervision()]


def _tree(tree: Mapping[str, Any]) -> str:
    """A tree that would not fit into a message is shown without its children, and says so."""
    text = json.dumps(tree)
    if len(text) <= MAX_TREE:
        return text
    log.warning("a supervision tree of %d bytes is shown without its children", len(text))
    return json.dumps({**tree, "children": [], "cut": True})


def worker_to_wire(view: WorkerView) -> wire.Worker:
    return wire.Worker(
        id=view.id,
        name=view.name,
        state=shown_worker_state(view),
        slots=view.slots,
        running=view.running,
        queues=list(view.queues),
        handlers=list(view.handlers),
        labels=dict(view.labels),
        version=view.version,
        address=view.address or "",
        connected_at=time_text(view.connected_at),
        last_seen=time_text(view.last_seen),
        health=json_text(dict(view.health)),
        coordinator=view.coordinator or "",
    )
