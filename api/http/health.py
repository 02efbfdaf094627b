"""/livez, /readyz, /healthz and /version: outside of the prefix, on every node, open to probes."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any

from quart import Blueprint, Response

from api.http.reading import answer
from callboard import __version__

Checks = Callable[[], Mapping[str, Mapping[str, Any]]]
Ready = Callable[[], tuple[bool, str]]


def health_blueprint(checks: Checks, ready: Ready) -> Blueprint:
    """`checks` and `ready` answer at once: a probe waits for nothing."""
    routes = Blueprint("health", __name__)

    @routes.get("/livez")
    async def livez() -> Response:
        """The process runs its loop; nothing outside of it is looked at."""
        return answer({"status": "ok", "detail": "the process runs"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        ok, detail = ready()
        return answer({"status": "ready" if ok else "not_ready", "detail": detail}, 200 if ok else 503)

    @routes.get("/healthz")
    async def healthz() -> Response:
        found = {name: dict(check) for name, check in checks().items()}
        said = {check.get("status") for check in found.values()}
        ok = said <= {"ok", "unknown", "degraded"}
        status = "degraded" if ok and "degraded" in said else "ok" if ok else "failed"
        return answer({"status": status, "checks": found}, 200 if ok else 503)

    @routes.get("/version")
    async def version() -> Response:
        return answer({"version": __version__, "python": platform.python_version()})

    return routes
