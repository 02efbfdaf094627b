"""The HTTP application over a fake store, called without sockets; every answer must be a documented one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from quart_trio import QuartTrio

from api.http.app import create_app
from api.http.openapi import description
from api.http.services import Services
from api.settings import Settings
from tests.support.fake_bulk import FakeBulk
from tests.support.fake_explain import FakeExplain
from tests.support.fake_queues import FakeQueues
from tests.support.fake_schedules import FakeSchedules
from tests.support.fake_store import FakeStore, FakeWakeups
from tests.support.fake_workflows import FakeWorkflows


def services(store: FakeStore, wakeups: FakeWakeups | None = None, **changes: Any) -> Services:
    async def trees() -> list[dict[str, Any]]:
        return [{"name": "node", "state": "running", "children": []}]

    given: dict[str, Any] = {
        "settings": Settings(roles=("api",), token="sesame"),
        "store": store,
        "schedules": FakeSchedules(),
        "queues": FakeQueues(),
        "explain": FakeExplain(store),
        "bulk": FakeBulk(store),
        "workflows": FakeWorkflows(),
        "submit": store.submit,
        "wakeups": wakeups or FakeWakeups(),
        "supervision": trees,
        "checks": lambda: {"database_connection": {"status": "ok", "detail": "answers", "age": 0.1}},
        "ready": lambda: (True, "ready"),
        "metrics": lambda: {"attempts_accepted_total": 3.0, "links": 2.0},
    }
    return Services(**{**given, **changes})


@dataclass(slots=True)
class Answer:
    status: int
    headers: Any
    data: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.data)


class Api:
    """Calls the application, with the token unless told otherwise."""

    def __init__(self, app: QuartTrio) -> None:
        self._client = app.test_client()

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = "sesame",
    ) -> Answer:
        sent = {"Content-Type": "application/json"} if json is not None or data is not None else {}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        sent |= headers or {}
        body = msgspec.json.encode(json) if json is not None else data
        response = await self._client.open(path, method=method, data=body, headers=sent)  # type: ignore[call-arg]
        answer = Answer(response.status_code, response.headers, await response.get_data())  # type: ignore[arg-type]
        must_be_documented(method, path, answer)
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json=json, **options)


def must_be_documented(method: str, path: str, answer: Answer) -> None:
    """Status and media type are in the description; every refusal is a whole problem document."""
    media = answer.headers["Content-Type"].partition(";")[0]
    assert answer.headers["X-Request-Id"]
    if answer.status >= 400 and path.partition("?")[0] not in ("/readyz", "/healthz"):
        assert media == "application/problem+json"
        problem = answer.json
        assert problem["status"] == answer.status
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        assert problem["code"]
        assert problem["detail"]
        assert len(answer.data) < 32_768
    operation = _operation(method, path.partition("?")[0])
    if operation is not None:
        documented = operation["responses"].get(str(answer.status))
        assert documented is not None, f"{method} {path} answered {answer.status}, which is not in /openapi.json"
        assert media in documented["content"]


def _operation(method: str, path: str) -> Any:
    """The most literal path that matches, as OpenAPI asks."""
    paths = sorted(description()["paths"].items(), key=lambda item: item[0].count("{"))
    for template, item in paths:
        pattern = re.sub(r"{\w+}", "[^/]+", template)
        if re.fullmatch(pattern, path) and "http/" not in template and method.lower() in item:
            return item[method.lower()]
    return None


@asynccontextmanager
async def open_api(given: Services) -> AsyncIterator[Api]:
    app = create_app(given)
    async with app.test_app():
        yield Api(app)
