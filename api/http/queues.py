"""/api/v1/queues and /api/v1/handlers"""

from __future__ import annotations

from quart import Blueprint, Response

from actors.model.queue import HandlerView, QueuePatch
from actors.model.queue_fields import is_queue
from actors.model.wrong import shown
from api.http.problems import not_found
from api.http.queue_shapes import handler_json, queue_json
from api.http.reading import answer, no_query, read_object
from api.http.schemas import must_be_empty, pause_reason, queue_patch
from api.http.services import Services


class Queues:
    """The handlers of one application."""

    def __init__(self, services: Services) -> None:
        self._store = services.queues

    def blueprint(self) -> Blueprint:
        routes = Blueprint("queues", __name__, url_prefix="/api/v1")
        add = routes.add_url_rule
        add("/queues", "find", self.find, methods=["GET"])
        add("/queues/<path:name>", "get", self.get, methods=["GET"])
        add("/queues/<path:name>", "patch", self.patch, methods=["PATCH"])
        add("/queues/<path:name>/pause", "pause", self.pause, methods=["POST"])
        add("/queues/<path:name>/resume", "resume", self.resume, methods=["POST"])
        add("/handlers", "handlers", self.handlers, methods=["GET"])
        add("/handlers/<path:name>/pause", "pause_handler", self.pause_handler, methods=["POST"])
        add("/handlers/<path:name>/resume", "resume_handler", self.resume_handler, methods=["POST"])
        return routes

    # --- queues -----------------------------------------------------------------------------------

    async def find(self) -> Response:
        no_query()
        return answer({"items": [queue_json(one) for one in await self._store.queues()], "next_cursor": None})

    async def get(self, name: str) -> Response:
        no_query()
        return answer(queue_json(await self._store.queue(_named("queue", name))))

    async def patch(self, name: str) -> Response:
        no_query()
        return answer(queue_json(await self._store.set_queue(_named("queue", name), queue_patch(await read_object()))))

    async def pause(self, name: str) -> Response:
        no_query()
        reason = pause_reason(await read_object(optional=True))
        patch = QueuePatch(fields=frozenset({"paused"}), paused=True, paused_reason=reason)
        return answer(queue_json(await self._store.set_queue(_named("queue", name), patch)))

    async def resume(self, name: str) -> Response:
        no_query()
        must_be_empty(await read_object(optional=True))
        patch = QueuePatch(fields=frozenset({"paused"}))
        return answer(queue_json(await self._store.set_queue(_named("queue", name), patch)))

    # --- handlers ---------------------------------------------------------------------------------

    async def handlers(self) -> Response:
        """Those that a worker has declared, and those that are paused."""
        no_query()
        return answer({"items": [handler_json(one) for one in await self._store.handlers()], "next_cursor": None})

    async def pause_handler(self, name: str) -> Response:
        no_query()
        reason = pause_reason(await read_object(optional=True))
        await self._store.pause_name(_named("handler", name), reason)
        return answer(handler_json(await self._handler(name)))

    async def resume_handler(self, name: str) -> Response:
        no_query()
        must_be_empty(await read_object(optional=True))
        await self._store.resume_name(_named("handler", name))
        return answer(handler_json(await self._handler(name)))

    async def _handler(self, name: str) -> HandlerView:
        return next((one for one in await self._store.handlers() if one.name == name), HandlerView(name=name))


def _named(kind: str, name: str) -> str:
    """Raises Problem 404 for what none can be called."""
    if not is_queue(name):
        raise not_found(f"there is no {kind} {shown(name)}")
    return name
