"""/api/v1/workflows"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_api import Api

URL = "/api/v1/workflows"


def member(ref: str, *parents: str, **more: Any) -> dict[str, Any]:
    return {"ref": ref, "name": "demo", "depends_on": list(parents), **more}


DIAMOND = {"name": "night", "tasks": [member("a"), member("b", "a"), member("c", "a"), member("d", "b", "c")]}


async def test_a_workflow_is_posted_shown_listed_and_cancelled(api: Api) -> None:
    made = await api.post(URL, DIAMOND)
    assert (made.status, made.headers["Location"]) == (201, f"{URL}/{made.json['id']}")
    assert list(made.json["ids"]) == ["a", "b", "c", "d"]
    shown = (await api.get(f"{URL}/{made.json['id']}")).json
    assert (shown["name"], shown["state"], shown["total"]) == ("night", "running", 4)
    await api.post(URL, DIAMOND)
    page = (await api.get(f"{URL}?limit=1")).json
    assert [one["id"] for one in page["items"]] == ["2"]
    following = (await api.get(f"{URL}?limit=1&cursor={page['next_cursor']}")).json
    assert ([one["id"] for one in following["items"]], following["next_cursor"]) == (["1"], None)
    assert (await api.post(f"{URL}/1/cancel")).json == {"id": "1", "cancelled": 4, "cancelling": 0}


async def test_a_key_makes_one_workflow(api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = [await api.call("POST", URL, json=DIAMOND, headers=key) for _ in range(2)]
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    other = await api.call("POST", URL, json={**DIAMOND, "name": "day"}, headers=key)
    assert other.status == 422


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ([], "", "must be an object"),
        ({}, "tasks", "required"),
        ({"tasks": []}, "tasks", "must have 1 to 10,000 tasks, got 0"),
        ({"tasks": [member("a", "b"), member("b", "a")]}, "tasks", "a"),
        ({"tasks": [member("a", "a")]}, "tasks[0].depends_on", "a"),
        ({"tasks": [member("a"), member("a")]}, "tasks[1].ref", "a"),
        ({"tasks": [member("a", "x")]}, "tasks[0].depends_on[0]", "x"),
        ({"tasks": [member("a", unique_key="u")]}, "tasks[0].unique_key", "single tasks"),
        ({"tasks": [member("a", priority=9)]}, "tasks[0].priority", "9"),
        ({"tasks": [member("a", colour="red")]}, "tasks[0].colour", "there is no such field; known: ref, name"),
    ],
)
async def test_what_is_no_workflow_is_refused_by_its_place(api: Api, body: Any, field: str, words: str) -> None:
    answer = await api.post(URL, body)
    assert answer.status in (400, 422)
    if field:
        [wrong] = answer.json["errors"]
        assert wrong["field"].startswith(field)
        assert words in wrong["detail"]
    assert (await api.get(URL)).json["items"] == []


async def test_one_that_is_not_there(api: Api) -> None:
    assert [(await api.get(f"{URL}/7")).status, (await api.post(f"{URL}/7/cancel")).status] == [404, 404]
    assert (await api.get(f"{URL}?limit=1000")).status == 422
