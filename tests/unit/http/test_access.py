"""Who may call."""

from __future__ import annotations

import pytest
import trio

from api.http.access import Access, InFlight
from api.http.problems import Problem
from api.settings import Settings
from tests.support.fake_store import FakeStore, a_task
from tests.support.http_api import Api, open_api, services

GUARDED = ["/api/v1/tasks", "/api/v1/stats", "/api/v1/tasks/1/http/x", "/openapi.json", "/docs", "/nothing"]


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic sesame", "sesame", "Bearer sesame2"])
async def test_without_the_token_nothing_is_told(api: Api, path: str, header: str | None) -> None:
    answer = await api.get(path, token=None, headers={"Authorization": header} if header else {})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics", "/version"])
async def test_probes_need_no_token(api: Api, path: str) -> None:
    assert (await api.get(path, token=None)).status == 200


async def test_the_scheme_of_the_token_has_no_case(api: Api) -> None:
    assert (await api.get("/api/v1/stats", token=None, headers={"Authorization": "bearer sesame"})).status == 200


LOCAL = Access(Settings(host="127.0.0.1"))


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:80", "127.1.2.3", "LOCALHOST:1"])
def test_a_loopback_host_is_known(host: str) -> None:
    assert LOCAL.refusal("POST", "/api/v1/tasks", [(b"Host", host.encode())]) is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "[", "@"])
def test_a_foreign_host_is_refused_where_only_loopback_protects(host: str) -> None:
    problem = LOCAL.refusal("GET", "/api/v1/tasks", [(b"host", host.encode())])
    assert problem is not None
    assert (problem.status, problem.code) == (403, "host_refused")
    public = Access(Settings(host="0.0.0.0", insecure=True))
    assert public.refusal("GET", "/", [(b"host", host.encode())]) is None


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9999", "http://[", ""])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "WEBSOCKET"])
def test_a_page_of_another_origin_changes_nothing(method: str, origin: str) -> None:
    problem = LOCAL.refusal(method, "/api/v1/tasks", [(b"host", b"localhost:8080"), (b"origin", origin.encode())])
    assert problem is not None
    assert problem.code == "cross_origin"


def test_our_own_page_may_change_things_and_others_may_be_linked_from() -> None:
    own = [(b"host", b"localhost:8080"), (b"origin", b"http://localhost:8080")]
    assert LOCAL.refusal("POST", "/api/v1/tasks", own) is None
    assert LOCAL.refusal("GET", "/docs", [(b"host", b"localhost"), (b"origin", b"http://evil.example")]) is None


def test_a_client_has_a_bounded_number_of_open_requests() -> None:
    counts = InFlight(limit=2)
    with counts.of("a"), counts.of("a"), counts.of("b"):
        with pytest.raises(Problem) as refused, counts.of("a"):
            pass
        assert refused.value.status == 429
        assert refused.value.headers["Retry-After"]
    with counts.of("a"):
        pass
    assert not counts._open


async def test_the_hundred_and_first_open_request_is_told_to_wait(
    store: FakeStore, autojump_clock: trio.testing.MockClock
) -> None:
    store.tasks[1] = a_task(1)
    async with open_api(services(store)) as api, trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(api.get, "/api/v1/tasks/1?wait=5")
        await trio.sleep(1)
        answer = await api.get("/api/v1/tasks/1")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert (await api.get("/livez")).status == 200


async def test_a_decent_request_id_is_kept_and_another_replaced(api: Api) -> None:
    assert (await api.get("/livez", headers={"X-Request-Id": "abc-1"})).headers["X-Request-Id"] == "abc-1"
    odd = await api.get("/livez", headers={"X-Request-Id": "a b<script>"})
    assert len(odd.headers["X-Request-Id"]) == 16


async def test_a_node_without_the_role_api_serves_health_alone(store: FakeStore) -> None:
    async with open_api(services(store, settings=Settings(roles=("coordinator",), token="sesame"))) as api:
        assert (await api.get("/livez")).status == 200
        for path in ("/api/v1/tasks/", "/docs", "/openapi.json", "/api/v1/tasks/1/http/"):
            assert (await api.get(path)).status == 404
