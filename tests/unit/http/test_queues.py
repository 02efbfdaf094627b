"""/api/v1/queues and /api/v1/handlers"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from api.http.queue_shapes import HandlerJson, HandlerPage, QueueJson, QueuePage
from tests.support.http_api import Api

URL = "/api/v1/queues"


async def test_queues_are_listed_shown_and_changed(api: Api) -> None:
    page = await api.get(URL)
    TypeAdapter(QueuePage).validate_json(page.data)
    assert [(one["name"], one["depth"], one["oldest_age"]) for one in page.json["items"]] == [("default", 3, 0.5)]
    limits = {"concurrency": 5, "concurrency_per_key": 2, "rate": {"limit": 100, "period": 60}, "rate_per_key": None}
    changed = await api.call("PATCH", f"{URL}/mail", json=limits)
    TypeAdapter(QueueJson).validate_json(changed.data)
    assert {name: changed.json[name] for name in limits} == {**limits, "rate": {"limit": 100, "period": 60.0}}
    taken = await api.call("PATCH", f"{URL}/mail", json={"rate": None})
    assert (taken.json["rate"], taken.json["concurrency"]) == (None, 5)
    assert (await api.get(f"{URL}/mail")).json == taken.json
    assert (await api.get(f"{URL}/unknown")).json["depth"] == 0


async def test_a_queue_is_paused_with_a_reason_and_resumed(api: Api) -> None:
    paused = (await api.post(f"{URL}/default/pause", {"reason": "a move"})).json
    assert (paused["paused"], paused["paused_reason"]) == (True, "a move")
    assert paused["paused_at"] is not None
    resumed = (await api.post(f"{URL}/default/resume")).json
    assert (resumed["paused"], resumed["paused_reason"], resumed["paused_at"]) == (False, None, None)
    assert (await api.call("PATCH", f"{URL}/default", json={"paused": True, "paused_reason": "x"})).json["paused"]


async def test_a_handler_is_paused_whether_declared_or_not(api: Api) -> None:
    for name in ("noop", "nobody.knows"):
        paused = await api.post(f"/api/v1/handlers/{name}/pause", {"reason": "broken"})
        TypeAdapter(HandlerJson).validate_json(paused.data)
        assert (paused.json["paused"], paused.json["paused_reason"]) == (True, "broken")
    page = await api.get("/api/v1/handlers")
    TypeAdapter(HandlerPage).validate_json(page.data)
    found = [(one["name"], one["live"], one["paused"]) for one in page.json["items"]]
    assert found == [("nobody.knows", False, True), ("noop", True, True)]
    assert not (await api.post("/api/v1/handlers/noop/resume")).json["paused"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "", "give one of concurrency"),
        ({"concurrency": -1}, "concurrency", "-1"),
        ({"concurrency": "5"}, "concurrency", "string"),
        ({"concurrency_per_key": 0}, "concurrency_per_key", "0"),
        ({"rate": 5}, "rate", "object"),
        ({"rate": {"limit": 5}}, "rate.period", "required"),
        ({"rate": {"limit": 0, "period": 1}}, "rate.limit", "0"),
        ({"rate": {"limit": 1, "period": 0}}, "rate.period", "0"),
        ({"rate_per_key": {"limit": 1, "period": 1, "burst": 2}}, "rate_per_key.burst", "no such field"),
        ({"paused": "yes"}, "paused", "string"),
        ({"paused_reason": "x"}, "paused_reason", "paused: true"),
        ({"concurency": 5}, "concurency", "did you mean concurrency"),
    ],
)
async def test_a_wrong_limit_is_refused_by_name(api: Api, body: Any, field: str, words: str) -> None:
    answer = await api.call("PATCH", f"{URL}/default", json=body)
    assert answer.status == 422
    [wrong] = answer.json["errors"]
    assert wrong["field"] == field
    assert words in wrong["detail"]


async def test_what_can_be_no_name_is_not_found(api: Api) -> None:
    for path in (f"{URL}/a%20b", f"{URL}/{'x' * 201}"):
        assert (await api.get(path)).status == 404
    assert (await api.post("/api/v1/handlers/a%20b/pause")).status == 404
    assert (await api.get(f"{URL}?limit=1")).status == 422


async def test_a_name_may_have_a_slash(api: Api) -> None:
    changed = await api.call("PATCH", f"{URL}/team%2Fmail", json={"concurrency": 5})
    assert (changed.status, changed.json["name"]) == (200, "team/mail")
    assert (await api.post(f"{URL}/team%2Fmail/pause")).json["paused"]
    assert (await api.get(f"{URL}/team%2Fmail")).json["concurrency"] == 5
    assert (await api.post("/api/v1/handlers/a%2Fb/pause")).json["name"] == "a/b"
