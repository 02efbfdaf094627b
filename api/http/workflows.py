"""/api/v1/workflows"""

from __future__ import annotations

from quart import Blueprint, Response

from actors.model.submission import fingerprint
from actors.model.workflow import Workflow
from api.http.ids import cursor_for, task_id_of
from api.http.paging import page_of
from api.http.problems import not_found
from api.http.reading import answer, idempotency_key, no_query, read_object
from api.http.schemas import must_be_empty, new_workflow
from api.http.services import Services
from api.http.workflow_shapes import workflow_json

PAGE, MOST = 20, 100  # items of a listing


class Workflows:
    """The handlers of one application."""

    def __init__(self, services: Services) -> None:
        self._store = services.workflows

    def blueprint(self) -> Blueprint:
        routes = Blueprint("workflows", __name__, url_prefix="/api/v1/workflows")
        add = routes.add_url_rule
        add("", "post", self.post, methods=["POST"])
        add("", "find", self.find, methods=["GET"])
        add("/<workflow_id>", "get", self.get, methods=["GET"])
        add("/<workflow_id>/cancel", "cancel", self.cancel, methods=["POST"])
        return routes

    async def post(self) -> Response:
        no_query()
        key, body = idempotency_key(), await read_object()
        number, created = await self._store.submit(
            new_workflow(body), key=key, request_hash=None if key is None else fingerprint(body)
        )
        stored = await self._existing(number)
        shown = {"id": str(number), "ids": dict(zip(stored.refs, map(str, stored.task_ids), strict=True))}
        return answer(shown, 201 if created else 200, {"Location": f"/api/v1/workflows/{number}"})

    async def find(self) -> Response:
        limit, before = page_of("workflows", PAGE, MOST)
        found = await self._store.find(limit=limit + 1, before_id=before)
        cursor = cursor_for(found[limit - 1].id, "workflows") if len(found) > limit else None
        return answer({"items": [workflow_json(one) for one in found[:limit]], "next_cursor": cursor})

    async def get(self, workflow_id: str) -> Response:
        no_query()
        return answer(workflow_json(await self._existing(task_id_of(workflow_id))))

    async def cancel(self, workflow_id: str) -> Response:
        no_query()
        must_be_empty(await read_object(optional=True))
        number = task_id_of(workflow_id)
        return answer({"id": str(number), **await self._store.cancel(number)})

    async def _existing(self, number: int) -> Workflow:
        workflow = await self._store.get(number)
        if workflow is None:
            raise not_found(f"workflow {number} does not exist, or was pruned")
        return workflow
