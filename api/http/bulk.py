"""/api/v1/tasks/cancel and /api/v1/tasks/retry: many tasks at once"""

from __future__ import annotations

from quart import Blueprint, Response
from typing_extensions import TypedDict

from actors.model.bulk import BulkDone, Selection, read_bulk
from api.http.problems import field_problems, invalid
from api.http.reading import answer, no_query, read_object
from api.http.services import Services


class CancelledMany(TypedDict):
    matched: int
    cancelled: int  # of these, such as will not start
    cancelling: int  # such as are told to stop
    skipped: dict[str, int]  # of the ids: missing, final
    more: bool  # more match than one call takes
    dry_run: bool


class RetriedMany(TypedDict):
    matched: int
    retried: int
    skipped: dict[str, int]  # missing, unfinished, retried (already)
    more: bool
    dry_run: bool


class Bulk:
    """The handlers of one application."""

    def __init__(self, services: Services) -> None:
        self._store = services.bulk

    def blueprint(self) -> Blueprint:
        routes = Blueprint("bulk", __name__, url_prefix="/api/v1/tasks")
        routes.add_url_rule("/cancel", "cancel", self.cancel, methods=["POST"])
        routes.add_url_rule("/retry", "retry", self.retry, methods=["POST"])
        return routes

    async def cancel(self) -> Response:
        selection = await _selection()
        return _shown(await self._store.cancel_many(selection), selection)

    async def retry(self) -> Response:
        selection = await _selection()
        return _shown(await self._store.retry_many(selection, submitted_by=None), selection)


async def _selection() -> Selection:
    """Raises Problem 400, 413, 415, 422."""
    no_query()
    selection, found = read_bulk(await read_object())
    if selection is None:
        raise invalid(field_problems(found))
    return selection


def _shown(done: BulkDone, selection: Selection) -> Response:
    told = {"matched": done.matched, **done.done, "skipped": dict(done.skipped), "more": done.more}
    return answer({**told, "dry_run": selection.dry_run})
