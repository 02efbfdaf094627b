"""/api/v1/tasks"""

from __future__ import annotations

import trio
from quart import Blueprint, Response, request

from actors.model.errors import StorageError
from actors.model.explain import explain
from actors.model.submission import BATCH
from actors.model.task import FINAL, Task
from api.http.explain_shapes import explanation_json
from api.http.ids import cursor_for, task_id_of
from api.http.known import KnownHandlers
from api.http.listing import listing, wait_seconds
from api.http.problems import Problem, not_found
from api.http.reading import answer, idempotency_key, no_condition, no_query, read_items, read_object
from api.http.schemas import must_be_empty, task_patch, wants_children
from api.http.services import Services
from api.http.shapes import attempt_json, page, task_json
from api.http.submitting import assumed_look, first_json, submit_batch, submit_one


class Tasks:
    """The handlers of one application."""

    def __init__(self, services: Services) -> None:
        self._services, self._store, self._waiters = services, services.store, services.waiters
        self._known = KnownHandlers(services.store)

    def blueprint(self) -> Blueprint:
        routes = Blueprint("tasks", __name__, url_prefix="/api/v1/tasks")
        add = routes.add_url_rule
        add("", "post", self.post, methods=["POST"])
        add("/batch", "post_batch", self.post_batch, methods=["POST"])
        add("", "find", self.find, methods=["GET"])
        add("/<task_id>", "get", self.get, methods=["GET"])
        add("/<task_id>", "patch", self.patch, methods=["PATCH"])
        add("/<task_id>/attempts", "attempts", self.attempts, methods=["GET"])
        add("/<task_id>/explain", "explain", self.explain, methods=["GET"])
        add("/<task_id>/cancel", "cancel", self.cancel, methods=["POST"])
        add("/<task_id>/retry", "retry", self.retry, methods=["POST"])
        return routes

    async def post(self) -> Response:
        no_query()
        key = idempotency_key()
        task, submitted = await submit_one(self._services, await read_object(), key)
        notice = await self._known.notice([task.name])
        where = {"Location": f"/api/v1/tasks/{submitted.id}"}
        if submitted.first is not None:
            shown = first_json(submitted.id, task, submitted.first)
        else:
            try:
                shown = task_json(await self._existing(submitted.id))
            except (StorageError, Problem):
                if not submitted.created:
                    raise
                shown = first_json(submitted.id, task, assumed_look(task))  # stored for certain: no call to repeat it
        if notice is not None:
            shown["notice"] = notice
        return answer(shown, 201 if submitted.created else 200, where)

    async def post_batch(self) -> Response:
        no_query()
        key = idempotency_key()
        names, stored = await submit_batch(self._services, await read_items(BATCH), key)
        shown: dict[str, object] = {"ids": [str(one.id) for one in stored]}
        notice = await self._known.notice(names)
        if notice is not None:
            shown["notice"] = notice
        return answer(shown, 201 if any(one.created for one in stored) else 200)

    async def find(self) -> Response:
        wanted = listing(request.args.to_dict(flat=False))
        tasks = await self._store.find(wanted.where, limit=wanted.limit + 1, before_id=wanted.before_id)
        items = [task_json(task) for task in tasks[: wanted.limit]]
        more = len(tasks) > wanted.limit
        cursor = cursor_for(tasks[wanted.limit - 1].id, wanted.query) if more else None
        return answer({"items": items, "next_cursor": cursor})

    async def get(self, task_id: str) -> Response:
        number = task_id_of(task_id)
        seconds = wait_seconds(request.args.to_dict(flat=False))
        if not seconds:
            return answer(task_json(await self._existing(number)))
        with self._waiters.waiting_for(number) as final:
            task = await self._existing(number)
            if task.state not in FINAL:
                with trio.move_on_after(seconds):
                    await final.wait()
                task = await self._existing(number)
        return answer(task_json(task))

    async def patch(self, task_id: str) -> Response:
        no_query()
        number = task_id_of(task_id)
        no_condition()
        return answer(task_json(await self._store.patch(number, task_patch(await read_object()))))

    async def attempts(self, task_id: str) -> Response:
        no_query()
        number = task_id_of(task_id)
        attempts = await self._store.attempts(number)
        if not attempts:
            await self._existing(number)
        return answer(page([attempt_json(one) for one in attempts]))

    async def explain(self, task_id: str) -> Response:
        no_query()
        number = task_id_of(task_id)
        facts = await self._services.explain.facts(number)
        if facts is None:
            raise not_found(f"task {number} does not exist, or was pruned")
        return answer(explanation_json(explain(facts)))

    async def cancel(self, task_id: str) -> Response:
        no_query()
        must_be_empty(await read_object(optional=True))
        number = task_id_of(task_id)
        state = await self._store.cancel(number)
        return answer({"id": str(number), "state": state}, 200 if state == "cancelled" else 202)

    async def retry(self, task_id: str) -> Response:
        no_query()
        with_children = wants_children(await read_object(optional=True))
        made = await self._store.retry(task_id_of(task_id), submitted_by=None, with_children=with_children)
        where = {"Location": f"/api/v1/tasks/{made}"}
        try:
            shown = task_json(await self._existing(made))
        except StorageError:
            raise Problem(
                status=503,
                code="stored",
                detail=f"the retry is stored as task {made}, but can't be read at the moment: get it later",
                headers={"Retry-After": "2", **where},
            ) from None
        return answer(shown, 201, where)

    async def _existing(self, number: int) -> Task:
        task = await self._store.get(number)
        if task is None:
            raise not_found(f"task {number} does not exist, or was pruned")
        return task
