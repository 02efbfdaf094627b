"""The clients against an API in memory: what they send, what they repeat, what they raise."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio

from callboard import AsyncClient, Client, task
from callboard.calls import MAX_BATCH, MAX_BATCH_BYTES, batches
from callboard.errors import CallboardApiError, CallboardError, CallboardUnavailable
from callboard.registry import definitions, forget


class Api:
    """Answers from a list; remembers the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.requests = list(answers), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **options: Any) -> Client:
        return Client("http://api.test", transport=httpx.MockTransport(self), **options)

    def async_client(self, **options: Any) -> AsyncClient:
        return AsyncClient("http://api.test", transport=httpx.MockTransport(self), **options)

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeps take no time but count."""
    slept: list[float] = []
    now = [1000.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return slept


def answer(status: int = 200, **body: Any) -> httpx.Response:
    return httpx.Response(status, json=body)


def busy(seconds: str = "2") -> httpx.Response:
    return httpx.Response(503, json={"code": "unavailable", "detail": "away"}, headers={"Retry-After": seconds})


def test_a_submission_says_what_was_asked_for() -> None:
    api = Api(answer(201, id="7", name="resize", state="queued"))
    with api.client(token="secret") as client:
        posted = client.submit(
            "resize", {"url": "x"}, delay=timedelta(seconds=2), run_at=datetime(2026, 1, 2, tzinfo=UTC), tags=["a"]
        )
    assert (posted.id, posted.state, posted["name"]) == ("7", "queued", "resize")
    (request,) = api.requests
    assert str(request.url) == "http://api.test/api/v1/tasks"
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Idempotency-Key"]
    assert api.bodies() == [
        {"name": "resize", "args": {"url": "x"}, "delay": 2.0, "run_at": "2026-01-02T00:00:00+00:00", "tags": ["a"]}
    ]


def test_the_decorated_function_stands_for_its_name() -> None:
    @task(name="a.name")
    def handler() -> None: ...

    api = Api(answer(201, id="1"))
    try:
        with api.client() as client:
            client.submit(handler)
            with pytest.raises(LookupError, match="is no handler"):
                client.submit(answer)
    finally:
        forget(definitions["a.name"])
    assert api.bodies()[0]["name"] == "a.name"


@pytest.mark.parametrize("trouble", [httpx.ConnectError("refused"), httpx.ReadTimeout("late"), busy("1")])
def test_a_submission_is_repeated_with_the_same_key(trouble: Any, pauses: list[float]) -> None:
    api = Api(trouble, trouble, answer(201, id="1"))
    with api.client() as client:
        assert client.submit("x").id == "1"
    assert len({request.headers["Idempotency-Key"] for request in api.requests}) == 1
    assert len(pauses) == 2


def test_retry_after_is_respected_and_bounded(pauses: list[float]) -> None:
    api = Api(busy("2"), busy("100"))
    with api.client(retry_for=10) as client, pytest.raises(CallboardApiError) as caught:
        client.submit("x")
    assert (caught.value.status, caught.value.code) == (503, "unavailable")
    assert len(pauses) == 1
    assert pauses[0] >= 2


def test_repeats_come_to_an_end(pauses: list[float]) -> None:
    api = Api(*[httpx.ConnectError("refused")] * 100)
    with api.client(retry_for=10) as client, pytest.raises(CallboardUnavailable, match="POST /tasks: refused"):
        client.submit("x")
    assert 5 < sum(pauses) <= 10


@pytest.mark.parametrize("act", [lambda client: client.submit_many([{"name": "x"}]), lambda client: client.retry("1")])
def test_what_could_happen_twice_is_not_repeated_in_doubt(act: Callable[[Client], Any], pauses: list[float]) -> None:
    with Api(httpx.ReadError("cut")).client() as client, pytest.raises(CallboardUnavailable, match="may have been"):
        act(client)
    with Api(busy()).client() as client, pytest.raises(CallboardApiError):
        act(client)
    with Api(httpx.ConnectError("refused"), answer(ids=["1"], id="1")).client() as client:
        assert act(client)


def test_a_refusal_carries_the_problem() -> None:
    problem = {
        "code": "invalid", "detail": "delay: negative", "request_id": "r1",
        "errors": [{"field": "delay", "code": "invalid", "detail": "must be at least 0"}],
    }  # fmt: skip
    with Api(answer(422, **problem)).client() as client, pytest.raises(CallboardApiError) as caught:
        client.submit("x", delay=-1)
    error = caught.value
    assert (error.status, error.code, error.detail, error.request_id) == (422, "invalid", "delay: negative", "r1")
    assert error.errors[0]["field"] == "delay"
    assert "delay: must be at least 0" in str(error)


def test_an_answer_of_something_else_is_named() -> None:
    with Api(httpx.Response(200, text="<html>")).client() as client, pytest.raises(CallboardError, match="not JSON"):
        client.get("1")
    with Api(httpx.Response(502, text="<html>")).client() as client, pytest.raises(CallboardApiError) as caught:
        client.get("1")
    assert caught.value.status == 502


@pytest.mark.parametrize(("args", "words"), [({"x": float("nan")}, "not finite"), ({"x": object()}, "unsupported")])
def test_arguments_that_json_does_not_have_are_refused(args: Any, words: str) -> None:
    with Api().client() as client, pytest.raises((TypeError, ValueError), match=words):
        client.submit("x", args)


def test_a_time_without_zone_is_refused() -> None:
    with Api().client() as client, pytest.raises(ValueError, match="run_at must have a time zone"):
        client.submit("x", run_at=datetime(2026, 1, 1))


def test_batches_are_cut_by_count_and_by_size() -> None:
    counts = [len(json.loads(call.body or b"")) for call in batches({"name": "x"} for _ in range(25_000))]
    assert counts == [MAX_BATCH, MAX_BATCH, 5_000]
    large = list(batches({"name": "x", "args": {"a": "y" * 200_000}} for _ in range(100)))
    assert len(large) == 2
    assert all(len(call.body or b"") <= MAX_BATCH_BYTES for call in large)


def test_many_ids_come_back_in_order() -> None:
    ids = [str(number) for number in range(MAX_BATCH + 1)]
    api = Api(answer(201, ids=ids[:MAX_BATCH]), answer(201, ids=ids[MAX_BATCH:]))
    with api.client() as client:
        assert client.submit_many({"name": "x", "delay": timedelta(seconds=1)} for _ in ids) == ids
    assert api.bodies()[1] == [{"name": "x", "delay": 1.0}]


def test_wait_asks_until_the_task_is_final() -> None:
    api = Api(answer(id="1", state="running"), answer(id="1", state="failed", error={"type": "E"}, result=None))
    with api.client() as client:
        ended = client.wait("1", timeout=90)
    assert (ended.state, ended.is_final, ended.error, ended.result) == ("failed", True, {"type": "E"}, None)
    assert [request.url.params["wait"] for request in api.requests] == ["60", "60"]


def test_wait_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 2.0, 31.0, 32.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with Api(answer(id="1", state="running")).client() as client, pytest.raises(TimeoutError, match="is running"):
        client.wait("1", timeout=30)


def test_list_goes_through_all_pages() -> None:
    api = Api(answer(items=[{"id": "1"}, {"id": "2"}], next_cursor="c"), answer(items=[{"id": "3"}], next_cursor=None))
    with api.client() as client:
        found = [one.id for one in client.list(state="failed", metadata={"team": "a"})]
    assert found == ["1", "2", "3"]
    params = [dict(request.url.params) for request in api.requests]
    assert params[0] == {"state": "failed", "metadata.team": "a", "limit": "200"}
    assert params[1]["cursor"] == "c"


def test_cancel_and_retry_name_the_task() -> None:
    api = Api(answer(id="4", state="cancelling"), answer(201, id="5", state="queued", retry_of="4"))
    with api.client() as client:
        assert client.cancel(4).state == "cancelling"
        assert client.retry("4").id == "5"
    assert [request.url.path for request in api.requests] == ["/api/v1/tasks/4/cancel", "/api/v1/tasks/4/retry"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_API_URL", "http://else.where:1/")
    monkeypatch.setenv("CALLBOARD_TOKEN", "from-env")


@pytest.mark.usefixtures("environment")
def test_address_and_token_come_from_the_environment() -> None:
    api = Api(answer(id="1"))
    with Client(transport=httpx.MockTransport(api)) as client:
        client.get("1")
    (request,) = api.requests
    assert str(request.url) == "http://else.where:1/api/v1/tasks/1"
    assert request.headers["Authorization"] == "Bearer from-env"


async def test_the_async_client_does_the_same() -> None:
    api = Api(
        httpx.ConnectError("refused"), answer(201, id="1"), answer(201, ids=["2"]), answer(id="1", state="succeeded"),
        answer(items=[{"id": "1"}], next_cursor=""), answer(id="1", state="cancelled"), answer(id="3"), answer(id="3"),
    )  # fmt: skip
    with trio.fail_after(5):
        async with api.async_client() as client:
            assert (await client.submit("x")).id == "1"
            assert await client.submit_many([{"name": "x"}]) == ["2"]
            assert (await client.wait("1", timeout=5)).is_final
            assert [one.id async for one in client.list(tag="t")] == ["1"]
            assert (await client.cancel("1")).state == "cancelled"
            assert (await client.retry("1")).id == "3"
            assert (await client.get("3")).id == "3"
    assert api.requests[0].headers["Idempotency-Key"] == api.requests[1].headers["Idempotency-Key"]
