"""Submissions that are right in form and odd in what they say."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.fake_store import FakeStore
from tests.support.http_api import Api


@pytest.mark.bad_input("JS02")
async def test_broken_json_is_told_with_its_place(api: Api) -> None:
    answer = await api.call("POST", "/api/v1/tasks", data=b'{\n  "name": "job",\n  oops}')
    assert "line 3, column 3" in answer.json["detail"]


@pytest.mark.bad_input("JS03")
@pytest.mark.parametrize("depth", [65, 5_000, 100_000])
async def test_nesting_is_bounded_whether_it_closes_or_not(api: Api, store: FakeStore, depth: int) -> None:
    for body in (b"[" * depth + b"]" * depth, b'{"x":' * depth + b"1" + b"}" * depth, b"[" * depth):
        answer = await api.call("POST", "/api/v1/tasks", data=b'{"name": "job", "args": {"x": ' + body + b"}}")
        assert answer.status in (400, 422)
        assert "64 levels of nesting" in answer.json["detail"] or answer.json["code"] == "malformed_json"
    assert store.tasks == {}


@pytest.mark.bad_input("JS14")
async def test_very_many_keys_and_a_very_long_key_are_too_large(api: Api, store: FakeStore) -> None:
    for args in ({f"key{n}": 0 for n in range(100_000)}, {"k" * 1_048_576: 0}, {"k" * 300_000: 0}):
        answer = await api.post("/api/v1/tasks", {"name": "job", "args": args})
        assert (answer.status, answer.json["code"]) == (413, "too_large")
        assert len(answer.data) < 2048
    assert store.tasks == {}


@pytest.mark.bad_input("JS19", "JS20")
async def test_a_moment_ago_is_now_and_a_year_ago_is_a_mistake(api: Api) -> None:
    now = datetime.now(UTC)
    recent, old = ((now - age).isoformat() for age in (timedelta(seconds=1), timedelta(days=365)))
    assert (await api.post("/api/v1/tasks", {"name": "job", "run_at": recent})).json["state"] == "queued"
    assert "24 hours ago" in (await api.post("/api/v1/tasks", {"name": "job", "run_at": old})).json["detail"]
    soon = (now + timedelta(seconds=30)).isoformat()
    for start in ({"run_at": (now + timedelta(seconds=60)).isoformat()}, {"delay": 60}):
        answer = await api.post("/api/v1/tasks", {"name": "job", "expires_at": soon, **start})
        assert answer.json["errors"][0]["field"] == "expires_at"
        assert "would never start" in answer.json["detail"]


@pytest.mark.bad_input("JS21")
@pytest.mark.parametrize("queue", ["", "q" * 201, "a b", "q\n", "<q>", "q\u202e", 5, ["q"], True])
async def test_an_odd_queue_is_named(api: Api, store: FakeStore, queue: Any) -> None:
    answer = await api.post("/api/v1/tasks", {"name": "job", "queue": queue})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "queue")
    assert store.tasks == {}


@pytest.mark.bad_input("JS21", "JS22", "JS25")
async def test_text_that_means_something_elsewhere_is_plain_data_here(
    api: Api, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [
        "';drop/**/table/**/callboard_tasks;--", "*", "%", "${jndi:ldap://x}", "%n%s", "{0.__class__}", "../../x",
        "__proto__", "$where", "$(id)", "`id`",
    ]  # fmt: skip
    lines = ["a\r\nSet-Cookie: x", "\x1b[31mred", "\u202etxt.exe", "\ufeff", "😀"]
    with caplog.at_level(logging.DEBUG):
        for text in texts:
            body = {"name": text, "queue": text, "args": {text: text}, "tags": [text], "metadata": {text: text}}
            answer = await api.post("/api/v1/tasks", body)
            assert answer.status == 201
            assert (answer.json["args"], answer.json["metadata"], answer.json["queue"]) == (
                {text: text}, {text: text}, text,
            )  # fmt: skip
            found = await api.call("GET", "/api/v1/tasks", json=None)
            assert found.json["items"][0]["tags"] == [text]
        for text in lines:
            answer = await api.post("/api/v1/tasks", {"name": "job", "args": {"x": text}, "tags": [text]})
            assert (answer.status, answer.json["args"]) == (201, {"x": text})
            refused = await api.post("/api/v1/tasks", {"name": text, "delay": text})
            assert b"\r" not in refused.data
            assert b"\x1b" not in refused.data
    assert all(not {"\r", "\n", "\x1b"} & set(record.getMessage()) for record in caplog.records)


@pytest.mark.bad_input("JS24")
@pytest.mark.parametrize("name", ["id", "task_id", "state", "attempt", "retry_of", "submitted_by"])
async def test_what_the_system_gives_is_nobodys_to_choose(api: Api, store: FakeStore, name: str) -> None:
    answer = await api.post("/api/v1/tasks", {"name": "job", name: "1"})
    assert (answer.status, answer.json["errors"][0]["code"]) == (422, "unknown_field")
    assert store.tasks == {}


@pytest.mark.bad_input("JS26", "JS27")
@pytest.mark.parametrize("verb", ["", "/attempts", "/cancel", "/retry"])
@pytest.mark.parametrize("task_id", ["7", "0", "-1", "x", "1.0", "9" * 30, "1;2", "1'"])
async def test_an_id_that_is_unknown_or_none_names_no_task(api: Api, task_id: str, verb: str) -> None:
    method = "POST" if verb in ("/cancel", "/retry") else "GET"
    answer = await api.call(method, f"/api/v1/tasks/{task_id}{verb}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")
