"""Posting, reading and changing tasks over HTTP: statuses and shapes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from pydantic import TypeAdapter

from actors.model.errors import BadValue, StorageUnavailable
from actors.model.ports import Submitted
from actors.model.task import Attempt, TaskState
from api.http.shapes import TaskJson
from tests.support.fake_store import FakeStore, FakeWakeups, a_task
from tests.support.http_api import Api, open_api, services

TASK_FIELDS = [
    "id", "name", "queue", "state", "args", "priority", "attempt", "tries", "max_tries", "crashes", "run_at",
    "created_at", "assigned_at", "started_at", "finished_at", "worker", "result", "error", "progress", "tags",
    "metadata", "unique_key", "schedule", "retry_of", "submitted_by", "requirements", "concurrency_key", "weight",
    "affinity_key", "depends_on", "workflow",
]  # fmt: skip


async def test_posting_answers_201_with_location_and_the_task(api: Api) -> None:
    answer = await api.post("/api/v1/tasks", {"name": "job", "args": {"x": 1}, "tags": ["a"], "delay": 60})
    assert answer.status == 201
    assert answer.headers["Location"] == "/api/v1/tasks/1"
    assert list(answer.json) == TASK_FIELDS
    assert answer.json["id"] == "1"
    assert answer.json["state"] == "scheduled"
    assert answer.json["args"] == {"x": 1}
    assert answer.json["created_at"].endswith("Z")
    TypeAdapter(TaskJson).validate_json(answer.data)


@pytest.mark.bad_input("JS12")
async def test_a_handler_that_nobody_declared_stays_queued_and_the_answer_says_so(api: Api) -> None:
    answer = await api.post("/api/v1/tasks", {"name": "jbo"})
    assert answer.status == 201
    assert "no worker has declared a handler named 'jbo'; known: job" in answer.json["notice"]
    batch = await api.post("/api/v1/tasks/batch", [{"name": "job"}, {"name": "other"}])
    assert "'other'" in batch.json["notice"]


@pytest.mark.bad_input("HT28")
async def test_the_same_idempotency_key_answers_with_the_first_task(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await api.post("/api/v1/tasks", {"name": "job", "args": {"a": 1, "b": 2}}, headers=headers)
    again = await api.call(
        "POST", "/api/v1/tasks", data=b'{ "args": {"b": 2, "a": 1}, "name": "job"}', headers=headers
    )  # fmt: skip
    other = await api.post("/api/v1/tasks", {"name": "job"}, headers=headers)
    assert (first.status, again.status, other.status) == (201, 200, 422)
    assert again.json["id"] == first.json["id"]
    assert other.json["code"] == "idempotency_conflict"


@pytest.mark.bad_input("HT27")
@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä"])
async def test_an_odd_idempotency_key_is_malformed(api: Api, key: str) -> None:
    answer = await api.post("/api/v1/tasks", {"name": "job"}, headers={"Idempotency-Key": key})
    assert (answer.status, answer.json["code"]) == (400, "idempotency_key_invalid")


async def test_a_batch_is_stored_whole_and_answers_its_ids(api: Api, store: FakeStore) -> None:
    answer = await api.post("/api/v1/tasks/batch", [{"name": "job", "args": {"n": n}} for n in range(3)])
    assert (answer.status, answer.json) == (201, {"ids": ["1", "2", "3"]})
    lines = b'{"name": "job"}\n\n{"name": "job"}\n'
    answer = await api.call(
        "POST", "/api/v1/tasks/batch", data=lines, headers={"Content-Type": "application/x-ndjson"}
    )  # fmt: skip
    assert answer.json == {"ids": ["4", "5"]}


@pytest.mark.bad_input("JS23")
async def test_one_bad_item_stores_nothing_of_the_batch_and_is_named(api: Api, store: FakeStore) -> None:
    items = [{"name": "job"}, {"name": "job", "delay": -1}, {"nam": "job"}]
    answer = await api.post("/api/v1/tasks/batch", items)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == ["[1].delay", "[2].name", "[2].nam"]
    assert store.tasks == {}


async def test_a_batch_with_an_idempotency_key_is_stored_once(api: Api, store: FakeStore) -> None:
    headers = {"Idempotency-Key": "k"}
    items = [{"name": "job"}, {"name": "job", "args": {"x": 1}}]
    first = await api.post("/api/v1/tasks/batch", items, headers=headers)
    again = await api.post("/api/v1/tasks/batch", items, headers=headers)
    other = await api.post("/api/v1/tasks/batch", [*items, {"name": "job"}], headers=headers)
    assert (first.status, again.status, other.status) == (201, 200, 422)
    assert again.json["ids"] == first.json["ids"]
    assert len(store.tasks) == 2


@pytest.mark.bad_input("JS23")
async def test_limits_of_a_batch(api: Api) -> None:
    assert (await api.post("/api/v1/tasks/batch", [])).status == 422
    assert (await api.post("/api/v1/tasks/batch", {"name": "job"})).status == 422
    assert (await api.post("/api/v1/tasks/batch", [{"name": "job"}] * 10_001)).status == 413
    assert (await api.call("POST", "/api/v1/tasks/batch", data=b" " * (16 * 2**20 + 1))).status == 413


async def test_values_that_the_store_refuses_are_named_with_their_place(store: FakeStore) -> None:
    async def submit(tasks: Any) -> list[Submitted | Exception]:
        return [Submitted(1, True), BadValue("args", "can't be stored")]

    async with open_api(services(store, submit=submit)) as api:
        answer = await api.post("/api/v1/tasks/batch", [{"name": "job"}, {"name": "job"}])
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "[1].args"


async def test_a_database_that_is_away_is_a_503_that_says_how_to_repeat(api: Api, store: FakeStore) -> None:
    store.away = True
    answer = await api.post("/api/v1/tasks", {"name": "job"})
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "2"
    assert "Idempotency-Key" in answer.json["detail"]
    assert "10.0.0.1" not in answer.data.decode()


async def test_a_task_that_is_stored_but_can_not_be_read_is_still_a_success(store: FakeStore) -> None:
    async def submit(tasks: Any) -> list[Submitted | Exception]:
        store.away = True
        return [Submitted(7, True)]

    async with open_api(services(store, submit=submit)) as api:
        answer = await api.post("/api/v1/tasks", {"name": "job", "args": {"x": 1}})
    assert answer.status == 201
    assert (answer.json["id"], answer.json["state"], answer.json["args"]) == ("7", "queued", {"x": 1})


async def test_an_unexpected_error_tells_nothing_of_the_inside(api: Api, store: FakeStore) -> None:
    store.error = RuntimeError("password=hunter2")
    answer = await api.get("/api/v1/tasks/1")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert "hunter2" not in answer.data.decode()


@pytest.mark.bad_input("JS26")
@pytest.mark.parametrize("task_id", ["999", "0", "-1", "abc", "1e3", "9223372036854775808", "1" * 400, "%00", "１"])
async def test_what_is_no_id_is_not_found(api: Api, task_id: str) -> None:
    assert (await api.get(f"/api/v1/tasks/{task_id}")).status == 404
    assert (await api.post(f"/api/v1/tasks/{task_id}/cancel")).status == 404


@pytest.mark.bad_input("HT26")
async def test_listing_goes_through_pages_with_a_cursor_of_its_query(api: Api, store: FakeStore) -> None:
    for n in range(5):
        store.tasks[n + 1] = a_task(n + 1, tags=["even"] if n % 2 else [])
    first = (await api.get("/api/v1/tasks?limit=2")).json
    assert [item["id"] for item in first["items"]] == ["5", "4"]
    second = (await api.get(f"/api/v1/tasks?limit=2&cursor={first['next_cursor']}")).json
    third = (await api.get(f"/api/v1/tasks?limit=2&cursor={second['next_cursor']}")).json
    assert [item["id"] for item in second["items"] + third["items"]] == ["3", "2", "1"]
    assert third["next_cursor"] is None
    for cursor in (first["next_cursor"][:-2], "x", "", "MS4x", "1" * 500):
        answer = await api.get(f"/api/v1/tasks?cursor={cursor}")
        assert (answer.status, answer.json["code"]) == (400, "cursor_invalid")
    assert (await api.get(f"/api/v1/tasks?tag=even&cursor={first['next_cursor']}")).status == 400


async def test_filters(api: Api, store: FakeStore) -> None:
    store.tasks = {1: a_task(1, tags=["a"], metadata={"k": "v"}), 2: a_task(2, state=TaskState.RUNNING)}
    for query, ids in {
        "state=queued": ["1"], "state=queued,running": ["2", "1"], "state=queued&state=running": ["2", "1"],
        "tag=a": ["1"], "metadata.k=v": ["1"], "metadata.k=w": [], "name=job": ["2", "1"],
        "created_after=2020-01-01T00:00:00Z": ["2", "1"],
    }.items():  # fmt: skip
        assert [item["id"] for item in (await api.get(f"/api/v1/tasks?{query}")).json["items"]] == ids


@pytest.mark.bad_input("HT25", "JS28")
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=abc", "limit=-1", "state=foo", "colour=red", "tag=a&tag=b", "created_after=now",
     "created_before=2026-01-01T00:00:00", "name=", "name=%00", "schedule=", "queue=" + "x" * 2000],
)  # fmt: skip
async def test_wrong_parameters_are_named(api: Api, query: str) -> None:
    answer = await api.get(f"/api/v1/tasks?{query}")
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.bad_input("JS29")
async def test_patching_a_waiting_task(api: Api, store: FakeStore) -> None:
    store.tasks[1] = a_task(1, run_at=datetime.now(UTC) + timedelta(hours=1))
    answer = await api.call("PATCH", "/api/v1/tasks/1", json={"run_at": None, "priority": 1, "queue": "q"})
    assert answer.status == 200
    assert (answer.json["state"], answer.json["priority"], answer.json["queue"]) == ("queued", 1, "q")
    assert (await api.call("PATCH", "/api/v1/tasks/1", json={})).status == 422
    assert (await api.call("PATCH", "/api/v1/tasks/1", json={"name": "x"})).status == 422
    assert (await api.call("PATCH", "/api/v1/tasks/9", json={"priority": 1})).status == 404
    store.finish(1)
    answer = await api.call("PATCH", "/api/v1/tasks/1", json={"priority": 2})
    assert (answer.status, answer.json["state"]) == (409, "succeeded")


@pytest.mark.bad_input("JS27")
async def test_cancelling(api: Api, store: FakeStore) -> None:
    store.tasks = {1: a_task(1), 2: a_task(2, state=TaskState.RUNNING), 3: a_task(3, state=TaskState.SUCCEEDED)}
    waiting, running = await api.post("/api/v1/tasks/1/cancel"), await api.post("/api/v1/tasks/2/cancel", {})
    assert (waiting.status, waiting.json) == (200, {"id": "1", "state": "cancelled"})
    assert (running.status, running.json) == (202, {"id": "2", "state": "cancelling"})
    assert (await api.post("/api/v1/tasks/1/cancel")).status == 200
    final = await api.post("/api/v1/tasks/3/cancel")
    assert (final.status, final.json["state"]) == (409, "succeeded")
    assert (await api.post("/api/v1/tasks/1/cancel", {"now": True})).status == 422


@pytest.mark.bad_input("JS27")
async def test_retrying(api: Api, store: FakeStore) -> None:
    store.tasks = {1: a_task(1, state=TaskState.FAILED)}
    answer = await api.post("/api/v1/tasks/1/retry")
    assert (answer.status, answer.headers["Location"]) == (201, "/api/v1/tasks/2")
    assert answer.json["retry_of"] == "1"
    assert (await api.post("/api/v1/tasks/2/retry")).status == 409


async def test_attempts(api: Api, store: FakeStore) -> None:
    now = datetime.now(UTC)
    store.tasks = {1: a_task(1), 2: a_task(2)}
    store.history[1] = [
        Attempt(task_id=1, attempt=1, outcome="lost", accepted=True, worker="w", assigned_at=now, started_at=now,
                ended_at=now, error=None, evidence={"session": 1})
    ]  # fmt: skip
    assert (await api.get("/api/v1/tasks/1/attempts")).json["items"][0]["outcome"] == "lost"
    assert (await api.get("/api/v1/tasks/2/attempts")).json["items"] == []
    assert (await api.get("/api/v1/tasks/3/attempts")).status == 404


async def test_waiting_ends_when_the_task_is_final(
    api: Api, store: FakeStore, wakeups: FakeWakeups, autojump_clock: trio.testing.MockClock
) -> None:
    store.tasks[1] = a_task(1)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def finish() -> None:
            await trio.sleep(0.5)
            store.finish(1, result=42)
            wakeups.notify("final")

        began = trio.current_time()
        answer = await api.get("/api/v1/tasks/1?wait=30")
    assert answer.json["result"] == 42
    assert trio.current_time() - began < 0.6


async def test_waiting_polls_when_no_hint_comes(
    api: Api, store: FakeStore, autojump_clock: trio.testing.MockClock
) -> None:
    store.tasks[1] = a_task(1)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def finish() -> None:
            await trio.sleep(2.5)
            store.finish(1)

        began = trio.current_time()
        await api.get("/api/v1/tasks/1?wait=30")
    assert 2.4 < trio.current_time() - began < 3.7


async def test_waiting_answers_the_present_state_after_its_time_and_then_asks_no_more(
    api: Api, store: FakeStore, autojump_clock: trio.testing.MockClock
) -> None:
    store.tasks[1] = a_task(1)
    began = trio.current_time()
    answer = await api.get("/api/v1/tasks/1?wait=3")
    assert answer.json["state"] == "queued"
    assert 2.9 < trio.current_time() - began < 3.2
    await trio.sleep(2)
    asked = len(store.asked)
    await trio.sleep(60)
    assert len(store.asked) == asked


@pytest.mark.parametrize("wait", ["-1", "61", "x", "nan", "inf", "", "1&wait=2"])
async def test_an_odd_wait_is_refused(api: Api, store: FakeStore, wait: str) -> None:
    store.tasks[1] = a_task(1)
    assert (await api.get(f"/api/v1/tasks/1?wait={wait}")).status == 422


async def test_one_statement_asks_for_everybody_who_waits(
    store: FakeStore, wakeups: FakeWakeups, autojump_clock: trio.testing.MockClock
) -> None:
    for number in range(1, 51):
        store.tasks[number] = a_task(number)
    async with open_api(services(store, wakeups)) as api, trio.open_nursery() as nursery:
        for number in range(1, 51):
            nursery.start_soon(api.get, f"/api/v1/tasks/{number}?wait=20")
        await trio.sleep(0.5)
        store.asked.clear()
        for number in range(1, 51):
            store.finish(number)
        wakeups.notify("final")
    assert [len(ids) for ids in store.asked] == [50]


async def test_a_stopping_node_lets_waiting_requests_go(
    store: FakeStore, autojump_clock: trio.testing.MockClock
) -> None:
    store.tasks[1] = a_task(1)
    given = services(store)
    async with open_api(given) as api, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(api.get, "/api/v1/tasks/1?wait=60")
        await trio.sleep(0.1)
        given.stopping.set()
    assert trio.current_time() - began < 1


async def test_numbers_beyond_64_bits_that_sql_put_in_are_shown(api: Api, store: FakeStore) -> None:
    store.tasks[1] = replace(a_task(1), args={"n": 10**30})
    assert b"1" + b"0" * 30 in (await api.get("/api/v1/tasks/1")).data


async def test_storage_errors_of_the_wait_do_not_end_it(store: FakeStore) -> None:
    store.error = StorageUnavailable("away")
    async with open_api(services(store)) as api:
        assert (await api.get("/api/v1/tasks/1?wait=1")).status == 503


async def test_a_task_is_explained(api: Api) -> None:
    task = (await api.post("/api/v1/tasks", {"name": "noop", "delay": 100})).json["id"]
    found = (await api.get(f"/api/v1/tasks/{task}/explain")).json
    assert (found["id"], found["state"], found["placement"], found["retry"]) == (task, "scheduled", None, None)
    assert [one["code"] for one in found["reasons"]] == ["not_due", "no_worker"]
    assert found["summary"].startswith("scheduled: not due for 1 min")
    assert (await api.get("/api/v1/tasks/999999/explain")).status == 404
    assert (await api.get(f"/api/v1/tasks/{task}/explain?wait=1")).status == 422
