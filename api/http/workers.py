"""/api/v1/workers"""

from __future__ import annotations

from quart import Blueprint, Response, request

from actors.model.wrong import shown
from api.http.problems import FieldProblem, invalid, not_found
from api.http.reading import answer, no_query, read_object, unknown_parameter
from api.http.schemas import must_be_empty
from api.http.services import Services
from api.http.shapes import page, worker_json

LONGEST_ID = 300


class Workers:
    """The handlers of one application."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._suspect_after = 2 * services.settings.lease.heartbeat

    def blueprint(self) -> Blueprint:
        routes = Blueprint("workers", __name__, url_prefix="/api/v1/workers")
        add = routes.add_url_rule
        add("", "find", self.find, methods=["GET"])
        add("/<worker_id>", "get", self.get, methods=["GET"])
        add("/<worker_id>/pause", "pause", self.pause, methods=["POST"])
        add("/<worker_id>/resume", "resume", self.resume, methods=["POST"])
        add("/<worker_id>/drain", "drain", self.drain, methods=["POST"])
        return routes

    async def find(self) -> Response:
        """Those that are connected, or with `ended=true` also those that ended within the hour."""
        for name in request.args:
            if name != "ended":
                raise unknown_parameter(name, ["ended"])
        ended = request.args.get("ended", "false")
        if ended not in ("true", "false"):
            raise invalid([FieldProblem(field="ended", code="invalid", detail="must be true or false")])
        views = await self._store.workers(include_ended=ended == "true")
        return answer(page([worker_json(view, self._suspect_after) for view in views]))

    async def get(self, worker_id: str) -> Response:
        no_query()
        view = await self._store.worker(_checked(worker_id))
        if view is None:
            raise not_found(f"there is no worker {shown(worker_id)}")
        return answer(worker_json(view, self._suspect_after))

    async def pause(self, worker_id: str) -> Response:
        return await self._set(worker_id, paused=True)

    async def resume(self, worker_id: str) -> Response:
        return await self._set(worker_id, paused=False)

    async def drain(self, worker_id: str) -> Response:
        return await self._set(worker_id, drain=True)

    async def _set(self, worker_id: str, *, paused: bool | None = None, drain: bool | None = None) -> Response:
        no_query()
        must_be_empty(await read_object(optional=True))
        view = await self._store.set_worker(_checked(worker_id), paused=paused, drain=drain)
        return answer(worker_json(view, self._suspect_after))


def _checked(worker_id: str) -> str:
    """Raises Problem 404 for what no worker can be called, before the database is asked."""
    if len(worker_id) > LONGEST_ID or not worker_id.isprintable() or not worker_id.isascii():
        raise not_found(f"there is no worker {shown(worker_id)}")
    return worker_id
