"""A worker node's own HTTP server: its health, what runs here, and the way to the tasks' servers."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import trio
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from quart import Blueprint, Response
from quart_trio import QuartTrio

from api.http.access import Access
from api.http.asgi import REQUEST_ID, Receive, Scope, Send
from api.http.forward import passed_on
from api.http.front import Front, Path
from api.http.health import health_blueprint
from api.http.ids import task_id_of
from api.http.metrics import metrics_blueprint
from api.http.problems import Problem
from api.http.proxy import below, gone, pass_on, starting
from api.http.quart_app import bare_app
from api.http.reading import answer, no_query
from api.http.route_signature import HEADER, RouteRefused, verify
from api.http.shapes import page
from api.settings import Settings

log = logging.getLogger(__name__)

CONNECT_LIMIT = 2.0  # seconds to a unix socket on this machine
TASK_SERVERS = re.compile(r"/tasks/([^/]+)(/.*)?", re.DOTALL)
_RAW = re.compile(rb"/tasks/[^/]+(/.*)?", re.DOTALL)


class WorkerFacts(Protocol):
    """What the node's actors say; every answer comes at once from memory."""

    @property
    def worker_id(self) -> str: ...
    def checks(self) -> Mapping[str, Mapping[str, Any]]:
        """Name → {"status": "ok" | "failed" | "unknown", "detail", "age"}; the four of a worker."""
        ...

    def ready(self) -> tuple[bool, str]: ...
    def running(self) -> list[dict[str, Any]]:
        """One object for each attempt that is here; `id` and `attempt` in it."""
        ...

    def server_of(self, task_id: int) -> tuple[int, str] | None:
        """Attempt and unix socket of the task's own server; None: there is none."""
        ...

    def secret_hash(self) -> bytes:
        """SHA-256 of the session's secret: what routes are signed with."""
        ...

    def tree(self) -> Mapping[str, Any]: ...


def create_worker_app(facts: WorkerFacts, settings: Settings) -> QuartTrio:
    """The tasks' servers are guarded by signed routes, the list and the tree by the token, health by nothing."""
    app = bare_app("callboard-worker")
    app.register_blueprint(health_blueprint(facts.checks, facts.ready))
    app.register_blueprint(metrics_blueprint(dict, None, _WorkerCollector(facts)))
    routes = Blueprint("worker", __name__)

    @routes.get("/tasks")
    async def running() -> Response:
        no_query()
        return answer(page([{**one, "id": str(one["id"])} for one in facts.running()]))

    @routes.get("/tree")
    async def tree() -> Response:
        no_query()
        return answer({"worker": facts.worker_id, **facts.tree()})

    app.register_blueprint(routes)
    path = Path(TASK_SERVERS, ExecutorProxy(facts), signed=True)
    app.asgi_app = Front(app.asgi_app, Access(settings), path)  # type: ignore[method-assign, assignment]
    return app


class ExecutorProxy:
    """Serves /tasks/{id}/… from the socket that the task's handler opened in its executor."""

    def __init__(self, facts: WorkerFacts) -> None:
        self._facts = facts

    async def serve(self, id_text: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem: 403 unsigned, 409 no server yet, 410 ended or superseded, 502 no answer."""
        task_id = task_id_of(id_text)
        attempt = self._signed_attempt(task_id, scope)
        socket_path = self._socket(task_id, attempt)
        forwarded = {name.lower() for name, _ in scope["headers"]}
        own = [(b"host", b"localhost"), (b"x-request-id", scope[REQUEST_ID].encode())]
        headers = [*passed_on(scope["headers"]), *own]
        if b"x-forwarded-prefix" not in forwarded:
            headers.append((b"x-forwarded-prefix", b"/tasks/%d" % task_id))
        target = below(scope, _RAW)
        try:
            with trio.fail_after(CONNECT_LIMIT):
                stream = await trio.open_unix_socket(socket_path)
        except (OSError, trio.TooSlowError):
            raise gone(f"the server of task {task_id} has ended") from None
        async with stream:
            await pass_on(scope, receive, send, stream, target, headers)

    def _signed_attempt(self, task_id: int, scope: Scope) -> int:
        wanted = HEADER.lower().encode()
        given = [value for name, value in scope["headers"] if name.lower() == wanted]
        try:
            value = given[0].decode("ascii", "replace") if len(given) == 1 else ""
            return verify(self._facts.secret_hash(), value, task_id, time.time())
        except RouteRefused as refused:
            raise Problem(status=403, code="route_refused", detail=str(refused)) from None

    def _socket(self, task_id: int, attempt: int) -> str:
        """Only ever of the attempt that was asked for."""
        found = self._facts.server_of(task_id)
        if found is not None:
            if found[0] != attempt:
                raise gone(f"attempt {attempt} of task {task_id} has ended here")
            return found[1]
        for one in self._facts.running():
            if int(one["id"]) == task_id and one["attempt"] == attempt:
                raise starting(f"attempt {attempt} of task {task_id} runs, and has not opened a server")
        raise gone(f"attempt {attempt} of task {task_id} does not run here any more")


class _WorkerCollector(Collector):
    def __init__(self, facts: WorkerFacts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        running = len(self._facts.running())
        yield GaugeMetricFamily("callboard_worker_attempts", "Attempts that are on this node", value=running)
        yield GaugeMetricFamily("callboard_worker_ready", "Whether it takes work", value=float(self._facts.ready()[0]))
        checks = GaugeMetricFamily("callboard_worker_check", "1 ok, 0 failed, -1 unknown", labels=["check"])
        for name, check in self._facts.checks().items():
            checks.add_metric([name], {"ok": 1.0, "failed": 0.0}.get(check["status"], -1.0))
        yield checks
