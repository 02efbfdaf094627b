"""/api/v1/coordinators, /supervision and /stats"""

from __future__ import annotations

from quart import Blueprint, Response

from api.http.reading import answer, no_query
from api.http.services import Services
from api.http.shapes import coordinator_json, page


class System:
    """The handlers of one application."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def blueprint(self) -> Blueprint:
        routes = Blueprint("system", __name__, url_prefix="/api/v1")
        routes.add_url_rule("/coordinators", "coordinators", self.coordinators, methods=["GET"])
        routes.add_url_rule("/supervision", "supervision", self.supervision, methods=["GET"])
        routes.add_url_rule("/stats", "stats", self.stats, methods=["GET"])
        return routes

    async def coordinators(self) -> Response:
        no_query()
        return answer(page([coordinator_json(one) for one in await self._services.store.coordinators()]))

    async def supervision(self) -> Response:
        """The live trees of all nodes that answer."""
        no_query()
        return answer(page(await self._services.supervision()))

    async def stats(self) -> Response:
        no_query()
        return answer(await self._services.store.stats())
