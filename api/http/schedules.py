"""/api/v1/schedules"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from quart import Blueprint, Response

from actors.model.errors import Conflict
from actors.model.firing import GapEntry
from actors.model.preview import preview
from actors.model.schedule import Definition, Schedule
from actors.model.schedule_changes import created, paused, replaced, resumed
from actors.model.schedule_fields import Wanted, interval, is_name, patched, read_schedule
from actors.model.schedule_form import written
from actors.model.wrong import Wrong, shown
from api.http.ids import cursor_for
from api.http.paging import number_of, only, page_of
from api.http.problems import Problem, field_problems, invalid, not_found
from api.http.reading import answer, no_query, read_object
from api.http.schedule_shapes import backfill_json, previewed_json, schedule_json, slot_json
from api.http.schemas import must_be_empty, now_utc, pause_reason
from api.http.services import Services
from api.http.shapes import page

PAGE, MOST = 100, 1_000  # items of a listing
PREVIEW, PREVIEWED = 10, 1_000  # nominal times
BACKFILL = 1_000  # slots of one request


class Schedules:
    """The handlers of one application."""

    def __init__(self, services: Services) -> None:
        self._store = services.schedules

    def blueprint(self) -> Blueprint:
        routes = Blueprint("schedules", __name__, url_prefix="/api/v1/schedules")
        add = routes.add_url_rule
        add("", "post", self.post, methods=["POST"])
        add("", "find", self.find, methods=["GET"])
        add("/preview", "preview_unsaved", self.preview_unsaved, methods=["POST"])
        add("/<name>", "get", self.get, methods=["GET"])
        add("/<name>", "put", self.put, methods=["PUT"])
        add("/<name>", "patch", self.patch, methods=["PATCH"])
        add("/<name>", "delete", self.delete, methods=["DELETE"])
        add("/<name>/pause", "pause", self.pause, methods=["POST"])
        add("/<name>/resume", "resume", self.resume, methods=["POST"])
        add("/<name>/trigger", "trigger", self.trigger, methods=["POST"])
        add("/<name>/backfill", "backfill", self.backfill, methods=["POST"])
        add("/<name>/preview", "preview", self.preview, methods=["GET"])
        add("/<name>/slots", "slots", self.slots, methods=["GET"])
        return routes

    async def post(self) -> Response:
        no_query()
        wanted = _wanted(*read_schedule(await read_object(), now_utc()))
        return _made(await self._create(wanted))

    async def find(self) -> Response:
        limit, before = page_of("schedules", PAGE, MOST)
        found = await self._store.find(limit=limit + 1, before_id=before)
        cursor = cursor_for(found[limit - 1].id, "schedules") if len(found) > limit else None
        return answer({"items": [schedule_json(one) for one in found[:limit]], "next_cursor": cursor})

    async def get(self, name: str) -> Response:
        no_query()
        return answer(schedule_json(await self._existing(name)))

    async def put(self, name: str) -> Response:
        """Creates it, or replaces its definition; whether it is paused stays as it is unless the body says so."""
        no_query()
        body = await read_object()
        stored = await self._store.get(name) if is_name(name) else None
        before = None if stored is None else stored.definition
        wanted = _wanted(*read_schedule(body, now_utc(), name=name, stored=before))
        if stored is None:
            try:
                return _made(await self._create(wanted))
            except Conflict:  # somebody created it at this very moment
                pass
        return answer(schedule_json(await self._replace(name, wanted)))

    async def patch(self, name: str) -> Response:
        no_query()
        body = await read_object()
        stored = await self._existing(name)
        found: list[Wrong] = []
        whole = patched(written(stored.definition), body, found)
        if found:
            raise invalid(field_problems(found))
        wanted = _wanted(*read_schedule(whole, now_utc(), name=name, stored=stored.definition))
        return answer(schedule_json(await self._replace(name, wanted, version=stored.version)))

    async def delete(self, name: str) -> Response:
        no_query()
        await self._store.delete(_named(name))
        return answer({"name": name, "deleted": True})

    async def pause(self, name: str) -> Response:
        no_query()
        reason = pause_reason(await read_object(optional=True))
        done = await self._store.change(_named(name), lambda schedule, now: (paused(schedule, reason, now), None))
        return answer(schedule_json(done))

    async def resume(self, name: str) -> Response:
        no_query()
        must_be_empty(await read_object(optional=True))
        done = await self._store.change(_named(name), lambda schedule, now: (resumed(schedule, now), None))
        return answer(schedule_json(done))

    async def trigger(self, name: str) -> Response:
        no_query()
        must_be_empty(await read_object(optional=True))
        return answer(slot_json(await self._store.trigger(_named(name))), 201)

    async def backfill(self, name: str) -> Response:
        no_query()
        span, found = interval(await read_object(), now_utc())
        if span is None:
            raise invalid(field_problems(found))
        return answer(backfill_json(await self._store.backfill(_named(name), *span, limit=BACKFILL)))

    async def preview(self, name: str) -> Response:
        count = _count()
        return _previewed(await self._existing(name), count)

    async def preview_unsaved(self) -> Response:
        """Of a body as it would be posted; nothing is stored."""
        count, now = _count(), now_utc()
        body: Any = await read_object()
        name = body.get("name", "preview") if isinstance(body, dict) else "preview"
        wanted = _wanted(*read_schedule(body, now, name=name))
        return _previewed(created(wanted.name, wanted.definition, now), count)

    async def slots(self, name: str) -> Response:
        query = f"slots {name}"
        limit, before = page_of(query, PAGE, MOST)
        schedule = await self._existing(name)
        found = await self._store.slots(schedule.id, limit=limit + 1, before_id=before)
        cursor = cursor_for(found[limit - 1].id, query) if len(found) > limit else None
        return answer({"items": [slot_json(one) for one in found[:limit]], "next_cursor": cursor})

    async def _create(self, wanted: Wanted) -> Schedule:
        return await self._store.create(wanted.name, wanted.definition, paused=bool(wanted.paused))

    async def _replace(self, name: str, wanted: Wanted, *, version: int | None = None) -> Schedule:
        """`version`: the one that was read; another one by now is a conflict."""
        change = partial(_replaced, wanted.definition, wanted.paused, version)
        return await self._store.change(name, change, definition=wanted.definition)

    async def _existing(self, name: str) -> Schedule:
        schedule = await self._store.get(_named(name))
        if schedule is None:
            raise _unknown(name)
        return schedule


def _replaced(
    definition: Definition, pause: bool | None, version: int | None, schedule: Schedule, now: datetime
) -> tuple[Schedule, GapEntry | None]:
    if version is not None and schedule.version != version:
        raise Conflict(f"schedule {schedule.name} was changed at the same moment: get it, and change it again")
    return replaced(schedule, definition, pause, now)


def _wanted(wanted: Wanted | None, found: list[Wrong]) -> Wanted:
    """Raises Problem 422 with every error."""
    if wanted is None:
        raise invalid(field_problems(found))
    return wanted


def _named(name: str) -> str:
    """Raises Problem 404: what can't be a name names no schedule."""
    if not is_name(name):
        raise _unknown(name)
    return name


def _unknown(name: str) -> Problem:
    return not_found(f"there is no schedule {shown(name)}")


def _made(schedule: Schedule) -> Response:
    return answer(schedule_json(schedule), 201, {"Location": f"/api/v1/schedules/{schedule.name}"})


def _previewed(schedule: Schedule, count: int) -> Response:
    zone = schedule.definition.timezone
    return answer(page([previewed_json(one, zone) for one in preview(schedule, now_utc(), count)]))


def _count() -> int:
    only("count")
    return number_of("count", PREVIEW, PREVIEWED)
