"""What strangers may send: each is refused in words, with the field, and nothing is stored."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.model.submission import TASK
from actors.model.task import NewTask
from api.http import json_text
from api.http.problems import Problem
from api.http.schemas import new_task, new_tasks
from tests.support.fake_store import FakeStore
from tests.support.http_api import Api

VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "name", "missing"),
    ({"name": ""}, "name", "out_of_range"),
    ({"name": "x" * 201}, "name", "out_of_range"),
    ({"name": "a b"}, "name", "invalid"),
    ({"name": "<lambda>"}, "name", "invalid"),
    ({"name": 5}, "name", "wrong_type"),
    ({"payoad": 1}, "payoad", "unknown_field"),
    ({"prioritty": 1}, "prioritty", "unknown_field"),
    ({"depends_on": ["1", "x"]}, "depends_on[1]", "invalid"),
    ({"depends_on": [1]}, "depends_on[0]", "wrong_type"),
    ({"depends_on": "1"}, "depends_on", "wrong_type"),
    ({"on_parent_failure": "run"}, "on_parent_failure", "conflict"),
    ({"unique_key": ""}, "unique_key", "out_of_range"),
    ({"unique_key": "k", "unique_until": "k"}, "unique_until", "invalid"),
    ({"unique_key": "k", "unique_until": -1}, "unique_until", "out_of_range"),
    ({"unique_until": "started"}, "unique_until", "conflict"),
    ({"on_duplicate": "replace"}, "on_duplicate", "conflict"),
    ({"concurrency_key": 1}, "concurrency_key", "wrong_type"),
    ({"weight": 0}, "weight", "out_of_range"),
    ({"requirements": {"gpu": 1}}, "requirements.gpu", "wrong_type"),
    ({"args": []}, "args", "wrong_type"),
    ({"args": None}, "args", "wrong_type"),
    ({"priority": 0}, "priority", "out_of_range"),
    ({"priority": 5}, "priority", "out_of_range"),
    ({"priority": 1.5}, "priority", "wrong_type"),
    ({"priority": "1"}, "priority", "wrong_type"),
    ({"priority": True}, "priority", "wrong_type"),
    ({"delay": -1}, "delay", "out_of_range"),
    ({"delay": "5m"}, "delay", "wrong_type"),
    ({"delay": 1e300}, "delay", "out_of_range"),
    ({"delay": 1, "run_at": "2026-11-26T00:00:00Z"}, "delay", "conflict"),
    ({"timeout": 0}, "timeout", "out_of_range"),
    ({"timeout": 86401}, "timeout", "out_of_range"),
    ({"max_tries": 0}, "max_tries", "out_of_range"),
    ({"max_tries": 1001}, "max_tries", "out_of_range"),
    ({"backoff": "x"}, "backoff", "invalid"),
    ({"backoff": -1}, "backoff", "invalid"),
    ({"backoff": {"kind": "linear"}}, "backoff", "invalid"),
    ({"backoff": {"base": "1"}}, "backoff", "invalid"),
    ({"backoff": {"bse": 1}}, "backoff", "invalid"),
    ({"tags": "a"}, "tags", "wrong_type"),
    ({"tags": [""]}, "tags[0]", "out_of_range"),
    ({"tags": ["x"] * 33}, "tags", "out_of_range"),
    ({"metadata": {"a": 1}}, "metadata.a", "wrong_type"),
    ({"metadata": {str(n): "" for n in range(65)}}, "metadata", "out_of_range"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "out_of_range"),
    ({"exclusive": 1}, "exclusive", "wrong_type"),
    ({"args": {"a": {"b": "x\x00"}}}, "args.a.b", "nul"),
    ({"args": {"a\x00": 1}}, "args['a\\x00']", "nul"),
    ({"args": {"l": [1, "\x00"]}}, "args.l[1]", "nul"),
    ({"queue": "q\x00"}, "queue", "nul"),
    ({"args": {"n": 2**63}}, "args.n", "out_of_range"),
    ({"args": {"n": -(10**300)}}, "args.n", "out_of_range"),
]  # fmt: skip


@pytest.mark.bad_input("JS06", "JS10", "JS11", "JS15", "JS16", "JS17", "JS20", "JS22")
@pytest.mark.parametrize(("fields", "field", "code"), VALUES)
async def test_a_wrong_value_is_named(
    api: Api, store: FakeStore, fields: dict[str, Any], field: str, code: str
) -> None:
    body = json.dumps({"name": "job", **fields} if fields else {}).encode()
    answer = await api.call("POST", "/api/v1/tasks", data=body)
    assert answer.status == 422
    assert (answer.json["errors"][0]["field"], answer.json["errors"][0]["code"]) == (field, code)
    assert field.split("[")[0].split(".")[0] in answer.json["detail"]
    assert store.tasks == {}


@pytest.mark.bad_input("JS18", "JS19")
@pytest.mark.parametrize(
    "run_at",
    ["2026-11-26T00:00:00", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-06-30T23:59:60Z", "now", "infinity",
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "2026-01-01T00:00:00+25:00",
     1767225600, "2020-01-01T00:00:00Z", "２026-01-01T00:00:00Z", ""],
)  # fmt: skip
async def test_a_wrong_time_is_named(api: Api, run_at: Any) -> None:
    answer = await api.post("/api/v1/tasks", {"name": "job", "run_at": run_at})
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "run_at"


async def test_every_error_is_told_at_once_and_near_misses_get_a_hint(api: Api) -> None:
    answer = await api.post("/api/v1/tasks", {"nme": 1, "delay": -1, "priority": "x"})
    assert {error["field"] for error in answer.json["errors"]} == {"name", "nme", "delay", "priority"}
    assert "did you mean name?" in next(e["detail"] for e in answer.json["errors"] if e["field"] == "nme")


@pytest.mark.bad_input("JS01", "JS02", "JS03", "JS04", "JS05", "JS08", "JS09")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"   ", "malformed_json"),
        (b'{"name": "job"', "malformed_json"),
        (b'{"name": "job"} x', "malformed_json"),
        (b"{'name': 'job'}", "malformed_json"),
        (b'{"name": "job"} // no', "malformed_json"),
        (b'{"name": "job", "args": {"x": NaN}}', "malformed_json"),
        (b'{"name": "job", "args": {"x": -Infinity}}', "malformed_json"),
        (b'{"name": "job", "args": {"x": ' + b"9" * 5000 + b"}}", "malformed_json"),
        (b'{"name": "job", "name": "other"}', "duplicate_key"),
        (b'{"name": "job", "args": {"x": {"y": 1, "y": 2}}}', "duplicate_key"),
        (b'{"name": "job\xff"}', "malformed_json"),
        ('{"name": "job"}'.encode("utf-16"), "malformed_json"),
        (b'\xef\xbb\xbf{"name": "job"}', "malformed_json"),
        (b'{"name": "job", "args": {"x": "a\x01b"}}', "malformed_json"),
        (b'{"name": "job", "args": {"x": ' + b"[" * 100_000, "malformed_json"),
    ],
)  # fmt: skip
async def test_what_is_no_json_is_malformed(api: Api, store: FakeStore, body: bytes, code: str) -> None:
    answer = await api.call("POST", "/api/v1/tasks", data=body)
    assert (answer.status, answer.json["code"]) == (400, code)
    assert store.tasks == {}


@pytest.mark.bad_input("JS01", "JS03", "JS05", "JS07")
@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        (b'{"name": "job", "args": {"x": "\\ud800"}}', "args.x", "surrogate"),
        (b'{"name": "job", "args": {"\\udc00": 1}}', "args['\\udc00']", "surrogate"),
        (b'{"name": "job", "args": {"x": 1e400}}', "args.x", "out_of_range"),
        (b'{"name": "job", "delay": 1e400}', "delay", "out_of_range"),
        (b'{"name": "job", "args": {"x": ' + b"[" * 80 + b"]" * 80 + b"}}", None, "too_deep"),
        (b"null", "", "wrong_type"),
        (b"5", "", "wrong_type"),
        (b"[]", "", "wrong_type"),
        (b'"x"', "", "wrong_type"),
    ],
)
async def test_json_that_can_not_be_stored_is_named(api: Api, body: bytes, field: str | None, code: str) -> None:
    answer = await api.call("POST", "/api/v1/tasks", data=body)
    assert (answer.status, answer.json["errors"][0]["code"]) == (422, code)
    assert field is None or answer.json["errors"][0]["field"] == field


@pytest.mark.bad_input("JS25")
async def test_whole_surrogate_pairs_and_64_bit_numbers_pass(api: Api, store: FakeStore) -> None:
    body = b'{"name": "job", "args": {"x": "\\ud83d\\ude00", "n": 9223372036854775807, "__proto__": "${jndi:x}"}}'
    assert (await api.call("POST", "/api/v1/tasks", data=body)).status == 201
    assert store.tasks[1].args == {"x": "😀", "n": 2**63 - 1, "__proto__": "${jndi:x}"}


@pytest.mark.bad_input("JS13")
@pytest.mark.parametrize(("size", "status"), [(262_143, 201), (262_144, 201), (262_145, 413)])
async def test_arguments_have_a_limit(api: Api, size: int, status: int) -> None:
    text = "x" * (size - len('{"x":""}'))
    answer = await api.post("/api/v1/tasks", {"name": "job", "args": {"x": text}})
    assert answer.status == status


@pytest.mark.bad_input("JS14")
async def test_a_large_body_is_refused(api: Api, store: FakeStore) -> None:
    answer = await api.post("/api/v1/tasks", {"name": "job", "args": {"x": "y" * 10_000_000}})
    assert (answer.status, answer.json["code"]) == (413, "too_large")
    assert store.tasks == {}


@pytest.mark.bad_input("HT19")
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-7"]
)
async def test_another_media_type_is_refused(api: Api, content_type: str) -> None:
    answer = await api.call("POST", "/api/v1/tasks", data=b'{"name":"job"}', headers={"Content-Type": content_type})
    assert answer.status == 415


@pytest.mark.bad_input("HT18")
async def test_compressed_bodies_are_refused(api: Api) -> None:
    answer = await api.call("POST", "/api/v1/tasks", data=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status == 415


@pytest.mark.bad_input("HT11")
async def test_no_route_and_no_method(api: Api) -> None:
    assert (await api.get("/api/v1/nothing")).status == 404
    answer = await api.call("DELETE", "/api/v1/tasks")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert (await api.call("OPTIONS", "/api/v1/tasks")).status == 405
    assert (await api.call("TRACE", "/api/v1/tasks")).status == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=10,
)  # fmt: skip
NAMES = st.sampled_from([*TASK, "x"])


def must_be_whole(problem: Problem) -> None:
    assert problem.status in (400, 413, 422)
    assert problem.body("r")


@given(st.dictionaries(NAMES, JSON, max_size=6) | JSON)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_a_task_or_a_problem(value: Any) -> None:
    try:
        parsed = json_text.parse(json.dumps(value).encode("utf-8", "surrogatepass"))
        task = new_task(parsed)
    except Problem as problem:
        must_be_whole(problem)
    else:
        assert isinstance(task, NewTask)
        assert "\x00" not in task.args


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u0d81eE+-.NaN tfn', max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_json_or_a_problem(raw: bytes) -> None:
    try:
        value = json_text.parse(raw)
    except Problem as problem:
        must_be_whole(problem)
    else:
        json.dumps(value, allow_nan=False).encode()


def test_ten_thousand_items_are_checked_in_a_small_multiple_of_the_time_that_reading_them_takes() -> None:
    raw = json.dumps(
        [{"name": "job", "args": {"x": n, "s": "text", "l": [1, 2]}, "tags": ["t"]} for n in range(10_000)]
    )
    reading, checking = [], []
    for _ in range(3):
        began = time.process_time()  # whatever else runs on this machine
        json.loads(raw)
        reading.append(time.process_time() - began)
        tasks = new_tasks(json_text.parse(raw.encode()), [None] * 10_000, None)
        checking.append(time.process_time() - began)
        assert len(tasks) == 10_000
    assert min(checking) < 60 * min(reading)
