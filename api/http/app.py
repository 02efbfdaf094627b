"""The HTTP application of a server node: who serves which address."""

from __future__ import annotations

from functools import partial

from quart_trio import QuartTrio

from actors.runtime.supervisor import RestartPolicy, keep_running
from api.http.access import Access
from api.http.bulk import Bulk
from api.http.docs import docs_blueprint
from api.http.front import Front, Path
from api.http.health import health_blueprint
from api.http.metrics import StatsCache, metrics_blueprint
from api.http.proxy import TASK_SERVERS, TaskProxy
from api.http.quart_app import bare_app
from api.http.queues import Queues
from api.http.schedules import Schedules
from api.http.services import Services
from api.http.system import System
from api.http.tasks import Tasks
from api.http.workers import Workers
from api.http.workflows import Workflows

WAITERS = RestartPolicy(intensity=5, period=30)


def create_app(services: Services) -> QuartTrio:
    """Health, metrics and version on every node; the API, its description and the proxy with the role api."""
    app = bare_app("callboard")
    has_api = services.settings.has("api") or not services.settings.roles
    app.register_blueprint(health_blueprint(services.checks, services.ready))
    app.register_blueprint(metrics_blueprint(services.metrics, StatsCache(services.store)))
    if has_api:
        for resource in (Tasks, Bulk, Schedules, Workflows, Queues, Workers, System):
            app.register_blueprint(resource(services).blueprint())
        app.register_blueprint(docs_blueprint())

    @app.before_serving
    async def start_waiters() -> None:
        await app.nursery.start(partial(keep_running, "waiters", services.waiters.run, WAITERS))

    tasks = Path(TASK_SERVERS, TaskProxy(services.store)) if has_api else None
    app.asgi_app = Front(app.asgi_app, Access(services.settings), tasks)  # type: ignore[method-assign, assignment]
    return app
