"""`client.schedules`: what it sends, and what it makes of pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from callboard import AsyncClient, Client, task
from callboard.errors import CallboardApiError
from callboard.registry import definitions, forget


def api(*pages: Any) -> tuple[httpx.MockTransport, list[tuple[str, str, Any]]]:
    """Answers with these, the last one again and again; and what was asked."""
    asked: list[tuple[str, str, Any]] = []
    left = list(pages)

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        asked.append((request.method, request.url.raw_path.decode().removeprefix("/api/v1"), body))
        return httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])

    return httpx.MockTransport(answer), asked


def test_a_schedule_is_put_for_a_decorated_function() -> None:
    @task
    def report(full: bool) -> None: ...

    transport, asked = api({"name": "nightly"})
    with Client("http://api.test", transport=transport) as client:
        shown = client.schedules.put(
            "nightly", report, {"full": True}, task_options={"queue": "q", "timeout": timedelta(minutes=5)},
            every=timedelta(hours=1), start_at=datetime(2026, 1, 1, tzinfo=UTC), overlap="skip",
        )  # fmt: skip
    assert shown == {"name": "nightly"}
    template = {"name": "report", "args": {"full": True}, "queue": "q", "timeout": 300.0}
    body = {"every": 3600.0, "start_at": "2026-01-01T00:00:00+00:00", "overlap": "skip", "task": template}
    assert asked == [("PUT", "/schedules/nightly", body)]
    forget(definitions["report"])


def test_times_without_a_zone_are_refused() -> None:
    transport, asked = api({})
    with Client("http://api.test", transport=transport) as client, pytest.raises(ValueError, match="time zone"):
        client.schedules.put("x", "report", at=datetime(2026, 1, 1))
    assert not asked


@pytest.mark.parametrize(
    ("do", "asked_for"),
    [
        (lambda one: one.get("a b"), ("GET", "/schedules/a%20b", None)),
        (lambda one: one.change("n", jitter=5), ("PATCH", "/schedules/n", {"jitter": 5})),
        (lambda one: one.delete("n"), ("DELETE", "/schedules/n", None)),
        (lambda one: one.pause("n", "why"), ("POST", "/schedules/n/pause", {"reason": "why"})),
        (lambda one: one.resume("n"), ("POST", "/schedules/n/resume", None)),
        (lambda one: one.trigger("n"), ("POST", "/schedules/n/trigger", None)),
        (lambda one: one.backfill("n", "a", "b"), ("POST", "/schedules/n/backfill", {"from": "a", "until": "b"})),
        (lambda one: one.preview("n", 3), ("GET", "/schedules/n/preview?count=3", None)),
    ],
)
async def test_both_clients_ask_the_same(do: Callable[[Any], Any], asked_for: Any) -> None:
    transport, asked = api({"items": []})
    with Client("http://api.test", transport=transport) as client:
        do(client.schedules)
    transport, again = api({"items": []})
    async with AsyncClient("http://api.test", transport=transport) as other:
        await do(other.schedules)
    assert asked == again == [asked_for]


async def test_listings_go_on_over_pages() -> None:
    pages = ({"items": [{"id": "2"}], "next_cursor": "c"}, {"items": [{"id": "1"}], "next_cursor": None})
    transport, asked = api(*pages)
    with Client("http://api.test", transport=transport) as client:
        assert [one["id"] for one in client.schedules.slots("n")] == ["2", "1"]
    assert [path for _, path, _ in asked] == ["/schedules/n/slots?limit=200", "/schedules/n/slots?limit=200&cursor=c"]
    transport, _ = api(*pages)
    async with AsyncClient("http://api.test", transport=transport) as other:
        assert [one["id"] async for one in other.schedules.list()] == ["2", "1"]


def test_a_refusal_is_raised() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404, json={"detail": "there is no schedule 'x'"}))
    with (
        Client("http://api.test", transport=transport) as client,
        pytest.raises(CallboardApiError, match="no schedule"),
    ):
        client.schedules.get("x")
