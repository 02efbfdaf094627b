"""Workers, coordinators, supervision, health, metrics, the description and the docs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import trio
from pydantic import TypeAdapter

from api.http.app import create_app
from api.http.openapi import OPERATIONS, PROXY_PATH, description
from api.http.shapes import WorkerPage
from tests.support.fake_store import FakeStore, a_worker
from tests.support.http_api import Api, open_api, services


async def test_workers_are_listed_with_the_state_that_people_see(api: Api, store: FakeStore) -> None:
    late = a_worker("w-2")
    store.views["w-2"] = a_worker("w-2", last_seen=late.now - timedelta(seconds=30))
    store.views["w-3"] = a_worker("w-3", health={"deaf": True})
    answer = await api.get("/api/v1/workers")
    assert {item["id"]: item["state"] for item in answer.json["items"]} == {
        "w-1": "alive", "w-2": "suspect", "w-3": "deaf",
    }  # fmt: skip
    TypeAdapter(WorkerPage).validate_json(answer.data)
    assert (await api.get("/api/v1/workers?ended=maybe")).status == 422


async def test_pausing_resuming_draining_a_worker(api: Api) -> None:
    assert (await api.post("/api/v1/workers/w-1/pause")).json["state"] == "paused"
    assert (await api.post("/api/v1/workers/w-1/resume")).json["state"] == "alive"
    assert (await api.post("/api/v1/workers/w-1/drain", {})).json["state"] == "draining"
    assert (await api.get("/api/v1/workers/w-1")).json["state"] == "draining"


@pytest.mark.parametrize("worker_id", ["nobody", "x" * 400, "%00", "%0d%0a", "ü"])
async def test_an_unknown_worker_is_not_found(api: Api, worker_id: str) -> None:
    assert (await api.get(f"/api/v1/workers/{worker_id}")).status == 404
    assert (await api.post(f"/api/v1/workers/{worker_id}/drain")).status == 404


async def test_coordinators_supervision_and_stats(api: Api) -> None:
    assert (await api.get("/api/v1/coordinators")).json["items"][0]["id"] == "c-1"
    assert (await api.get("/api/v1/supervision")).json["items"][0]["name"] == "node"
    assert (await api.get("/api/v1/stats")).json["tasks"] == {"queued": 0}
    assert (await api.get("/api/v1/stats?x=1")).status == 422


async def test_health_says_what_is_true(store: FakeStore) -> None:
    checks: dict[str, Any] = {"a": {"status": "ok", "detail": "d", "age": 1}, "b": {"status": "unknown"}}
    ready = [True, "ready"]
    given = services(store, checks=lambda: checks, ready=lambda: tuple(ready))
    async with open_api(given) as api:
        assert (await api.get("/healthz")).json == {"status": "ok", "checks": checks}
        assert (await api.get("/readyz")).status == 200
        checks["b"]["status"] = "failed"
        ready[:] = [False, "database_connection: it is away"]
        store.away = True
        assert (await api.get("/healthz")).status == 503
        answer = await api.get("/readyz")
        assert (answer.status, answer.json["detail"]) == (503, "database_connection: it is away")
        assert (await api.get("/livez")).status == 200
        assert (await api.call("HEAD", "/livez")).status == 200


async def test_metrics_show_the_node_and_the_counts(api: Api) -> None:
    text = (await api.get("/metrics")).data.decode()
    for line in (
        "callboard_attempts_accepted_total 3.0", "callboard_links 2.0", 'callboard_tasks{state="queued"} 0.0',
        'callboard_queue_oldest_age_seconds{queue="default"} 2.5', 'callboard_workers{state="live"} 1.0',
        "process_cpu_seconds_total", "callboard_database_up 1.0",
    ):  # fmt: skip
        assert line in text


async def test_metrics_answer_while_the_database_is_away(api: Api, store: FakeStore) -> None:
    store.away = True
    text = (await api.get("/metrics")).data.decode()
    assert "callboard_database_up 0.0" in text
    assert "callboard_links 2.0" in text
    assert "callboard_tasks{" not in text


async def test_scraping_often_asks_the_database_seldom(
    store: FakeStore, autojump_clock: trio.testing.MockClock
) -> None:
    asked = 0
    stats = store.stats

    async def count() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return await stats()

    store.stats = count  # type: ignore[method-assign]
    async with open_api(services(store)) as api:
        for _ in range(10):
            await api.get("/metrics")
        assert asked == 1
        await trio.sleep(2.1)
        await api.get("/metrics")
    assert asked == 2


async def test_the_description_has_every_route_and_no_other(store: FakeStore) -> None:
    app = create_app(services(store))
    served = {
        (method.lower(), rule.rule.replace("<path:", "<").replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith(("/docs", "/openapi"))
    }
    assert served == {(one.method, one.path) for one in OPERATIONS}
    assert "get" in description()["paths"][PROXY_PATH]


def test_every_reference_in_the_description_leads_somewhere() -> None:
    document = description()
    names = set(document["components"]["schemas"])

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return found + [one for inner in value.values() for one in references(inner)]
        return [one for inner in value for one in references(inner)] if isinstance(value, list) else []

    assert {one.rpartition("/")[2] for one in references(document)} <= names
    ids = [item["operationId"] for path in document["paths"].values() for item in path.values()]
    assert len(ids) == len(set(ids))


async def test_the_docs_come_from_this_node_alone(api: Api) -> None:
    page = await api.get("/docs")
    assert page.status == 200
    assert b"http://" not in page.data
    assert b"https://" not in page.data
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    script = page.data.decode().split('src="')[1].split('"')[0]
    packed = await api.get(script, headers={"Accept-Encoding": "gzip"})
    plain = await api.get(script)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < 250_000
    assert b"RapiDoc" in plain.data[:100]
    assert (await api.get("/openapi.json")).json["openapi"] == "3.1.0"
