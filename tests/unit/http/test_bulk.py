"""POST /api/v1/tasks/cancel and /retry"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_bulk import FakeBulk
from tests.support.fake_store import FakeStore
from tests.support.http_api import Api, open_api, services

URL = "/api/v1/tasks"


async def test_tasks_are_cancelled_and_retried_by_ids(api: Api) -> None:
    ids = (await api.post(f"{URL}/batch", [{"name": "noop"}] * 3)).json["ids"]
    done = await api.post(f"{URL}/cancel", {"ids": ids})
    assert done.json == {
        "matched": 3, "cancelled": 3, "cancelling": 0, "skipped": {"missing": 1}, "more": False, "dry_run": False,
    }  # fmt: skip
    counted = await api.post(f"{URL}/retry", {"ids": ids, "dry_run": True})
    assert (counted.json["matched"], counted.json["retried"], counted.json["dry_run"]) == (3, 0, True)
    assert (await api.post(f"{URL}/retry", {"ids": ids})).json["retried"] == 3


async def test_a_filter_is_what_a_listing_takes(store: FakeStore) -> None:
    bulk = FakeBulk(store)
    async with open_api(services(store, bulk=bulk)) as api:
        where = {
            "state": ["failed", "expired"], "name": "noop", "workflow": "7", "created_before": "2026-01-01T00:00:00Z",
            "metadata": {"k": "v"},
        }  # fmt: skip
        assert (await api.post(f"{URL}/retry", {"filter": where, "limit": 5})).status == 200
    [asked] = bulk.asked
    assert asked.limit == 5
    assert asked.where is not None
    assert (asked.where.states, asked.where.name, asked.where.workflow) == (("failed", "expired"), "noop", 7)
    assert asked.where.metadata == {"k": "v"}


@pytest.mark.parametrize("verb", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "", "either ids or filter"),
        ({"ids": ["1"], "filter": {"name": "x"}}, "", "either ids or filter"),
        ({"ids": []}, "ids", "one task or more"),
        ({"ids": [1]}, "ids[0]", "string"),
        ({"ids": ["x"]}, "ids[0]", "no id"),
        ({"ids": ["1"] * 10_001}, "ids", "10000"),
        ({"filter": {}}, "filter", "must name something"),
        ({"filter": {"state": "failed"}}, "filter.state", "array"),
        ({"filter": {"state": ["broken"]}}, "filter.state[0]", "must be one of"),
        ({"filter": {"state": ["failed"] * 20}}, "filter.state", "at most"),
        ({"filter": {"workflow": 7}}, "filter.workflow", "string"),
        ({"filter": {"created_after": "soon"}}, "filter.created_after", "soon"),
        ({"filter": {"nam": "x"}}, "filter.nam", "did you mean name"),
        ({"filter": {"name": "x"}, "limit": 0}, "limit", "0"),
        ({"filter": {"name": "x"}, "dry_run": 1}, "dry_run", "number"),
    ],
)
async def test_a_wrong_selection_is_refused_by_name(api: Api, verb: str, body: Any, field: str, words: str) -> None:
    answer = await api.post(f"{URL}/{verb}", body)
    assert answer.status == 422
    [wrong] = answer.json["errors"]
    assert wrong["field"] == field
    assert words in wrong["detail"]
