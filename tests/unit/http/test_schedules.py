"""/api/v1/schedules"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from api.http.schedule_shapes import PreviewPage, ScheduleJson, SchedulePage, SlotPage
from tests.support.fake_schedules import FakeSchedules
from tests.support.fake_store import FakeStore
from tests.support.http_api import Api, open_api, services

URL = "/api/v1/schedules"
BODY: dict[str, Any] = {"name": "hourly", "cron": "0 * * * *", "task": {"name": "report", "args": {"full": True}}}
NAMED = {name: one for name, one in BODY.items() if name != "name"}


async def test_a_schedule_is_created_shown_and_listed(api: Api) -> None:
    made = await api.post(URL, BODY)
    assert made.status == 201
    assert made.headers["Location"] == f"{URL}/hourly"
    TypeAdapter(ScheduleJson).validate_json(made.data)
    assert made.json["task"] == BODY["task"]
    assert made.json["overlap"] == "allow"
    assert made.json["next_slot_at"] is not None
    assert (await api.get(f"{URL}/hourly")).json == made.json
    assert (await api.post(URL, BODY)).status == 409
    page = await api.get(f"{URL}?limit=1")
    assert [one["name"] for one in page.json["items"]] == ["hourly"]
    following = await api.get(f"{URL}?limit=1&cursor={page.json['next_cursor']}")
    assert [one["name"] for one in following.json["items"]] == ["nightly"]
    TypeAdapter(SchedulePage).validate_json(following.data)


async def test_put_creates_and_replaces_and_says_nothing_changed_where_nothing_did(api: Api) -> None:
    assert (await api.call("PUT", f"{URL}/hourly", json=NAMED)).status == 201
    again = await api.call("PUT", f"{URL}/hourly", json=NAMED)
    assert (again.status, again.json["version"]) == (200, 1)
    other = await api.call("PUT", f"{URL}/hourly", json={**BODY, "overlap": "skip", "paused": True})
    assert (other.json["version"], other.json["overlap"], other.json["paused"]) == (2, "skip", True)
    assert other.json["next_slot_at"] is None
    kept = await api.call("PUT", f"{URL}/hourly", json=NAMED)
    assert kept.json["paused"]
    assert (await api.call("PUT", f"{URL}/hourly", json={**BODY, "name": "other"})).status == 422
    assert (await api.call("PUT", f"{URL}/no%20name", json=NAMED)).status == 422


async def test_patch_changes_some_fields(api: Api) -> None:
    changed = await api.call("PATCH", f"{URL}/nightly", json={"every": 90, "jitter": 5})
    assert (changed.json["every"], changed.json["cron"], changed.json["jitter"]) == (90, None, 5)
    assert changed.json["timezone"] == "Europe/Berlin"
    assert (await api.call("PATCH", f"{URL}/nightly", json={})).status == 422
    assert (await api.call("PATCH", f"{URL}/nightly", json={"cron": "0 0 30 2 *"})).status == 422
    assert (await api.call("PATCH", f"{URL}/nobody", json={"every": 90})).status == 404


async def test_pause_resume_trigger_backfill_delete(api: Api) -> None:
    paused = await api.post(f"{URL}/nightly/pause", {"reason": "a move"})
    assert (paused.json["paused"], paused.json["paused_reason"]) == (True, "a move")
    assert (await api.post(f"{URL}/nightly/pause", {"reason": 5})).status == 422
    assert not (await api.post(f"{URL}/nightly/resume")).json["paused"]
    fired = await api.post(f"{URL}/nightly/trigger")
    assert (fired.status, fired.json["kind"]) == (201, "trigger")
    span = {"from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    assert (await api.post(f"{URL}/nightly/backfill", span)).json == {"posted": 3, "waiting": 0, "already": 1}
    assert (await api.post(f"{URL}/nightly/backfill", {**span, "until": "2126-01-02T00:00:00Z"})).status == 422
    assert (await api.call("DELETE", f"{URL}/nightly")).json == {"name": "nightly", "deleted": True}


@pytest.mark.parametrize("name", ["nobody", "x" * 400, "%00", "a%20b", "ü"])
async def test_an_unknown_schedule_is_not_found(api: Api, name: str) -> None:
    assert (await api.get(f"{URL}/{name}")).status == 404
    assert (await api.get(f"{URL}/{name}/slots")).status == 404
    assert (await api.get(f"{URL}/{name}/preview")).status == 404
    for verb in ("pause", "resume", "trigger"):
        assert (await api.post(f"{URL}/{name}/{verb}")).status == 404
    assert (await api.call("DELETE", f"{URL}/{name}")).status == 404


async def test_the_ledger_has_pages(api: Api) -> None:
    page = await api.get(f"{URL}/nightly/slots?limit=1")
    assert [(one["state"], one["count"]) for one in page.json["items"]] == [("gap", 7)]
    rest = await api.get(f"{URL}/nightly/slots?limit=1&cursor={page.json['next_cursor']}")
    TypeAdapter(SlotPage).validate_json(rest.data)
    assert [(one["state"], one["task"]) for one in rest.json["items"]] == [("fired", "1")]
    assert rest.json["next_cursor"] is None
    assert (await api.get(f"{URL}/nightly/slots?limit=0")).status == 422
    assert (await api.get(f"{URL}/nightly/slots?cursor=x")).status == 400
    assert (await api.get(f"{URL}/nightly/slots?limit=1&limit=2")).status == 422


async def test_a_preview_marks_what_the_clocks_do(api: Api) -> None:
    body = {
        "cron": "30 2 * * *", "timezone": "Europe/Berlin", "dst_gap": "skip", "task": {"name": "x"},
        "start_at": "2027-03-27T00:00:00Z",
    }  # fmt: skip
    found = await api.post(f"{URL}/preview?count=3", body)
    TypeAdapter(PreviewPage).validate_json(found.data)
    assert [(one["local"], one["dst"], one["skipped"]) for one in found.json["items"]] == [
        ("2027-03-27T02:30:00+01:00", "", None),
        ("2027-03-28T03:00:00+02:00", "shifted", "the clocks skip this time, and dst_gap is skip"),
        ("2027-03-29T02:30:00+02:00", "", None),
    ]
    body |= {"dst_fold": "last", "start_at": "2027-10-31T00:00:00Z"}
    found = await api.post(f"{URL}/preview?count=2", body)
    assert [(one["local"], one["dst"], bool(one["skipped"])) for one in found.json["items"]] == [
        ("2027-10-31T02:30:00+02:00", "repeated", True),
        ("2027-10-31T02:30:00+01:00", "repeated", False),
    ]
    assert (await api.post(f"{URL}/preview", {"cron": "x"})).status == 422
    assert (await api.post(f"{URL}/preview?count=9999", body)).status == 422


async def test_a_preview_of_a_stored_one(api: Api) -> None:
    found = await api.get(f"{URL}/nightly/preview?count=4")
    assert len(found.json["items"]) >= 4
    await api.post(f"{URL}/nightly/pause")
    found = await api.get(f"{URL}/nightly/preview")
    assert {one["skipped"] for one in found.json["items"]} == {"the schedule is paused"}


async def test_the_database_being_away_is_told(store: FakeStore) -> None:
    schedules = FakeSchedules()
    schedules.away = True
    async with open_api(services(store, schedules=schedules)) as api:
        for path in (URL, f"{URL}/nightly", f"{URL}/nightly/slots"):
            answer = await api.get(path)
            assert answer.status == 503
            assert b"10.0.0.1" not in answer.data
        assert (await api.post(URL, BODY)).status == 503


async def test_every_error_of_a_body_is_told(api: Api) -> None:
    answer = await api.post(URL, {**BODY, "timezone": 5, "overlap": "no", "task": {"name": "a", "tags": "x"}, "at": 1})
    assert {one["field"] for one in answer.json["errors"]} == {"timezone", "overlap", "task.tags", "at"}
