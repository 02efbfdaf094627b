"""Schedules in real processes: a slot fires once, whoever dies, and overlap is what its policy says."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
import trio

from tests.support.cluster import Cluster

SECOND = timedelta(seconds=1)


async def put(cluster: Cluster, name: str, **body: Any) -> None:
    response = await cluster.http.put(f"schedules/{name}", json=body)
    assert response.is_success, response.text


async def ledger(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """Oldest first."""
    found: list[dict[str, Any]] = (await cluster.get(f"schedules/{name}/slots", limit=1000))["items"]
    return found[::-1]


def every_second_once(slots: list[dict[str, Any]]) -> None:
    times = [datetime.fromisoformat(slot["slot_at"]) for slot in slots]
    assert sorted(times) == [min(times) + number * SECOND for number in range(len(times))]
    assert {(slot["state"], slot["kind"]) for slot in slots} == {("fired", "nominal")}


@pytest.mark.parametrize("deaths", [1, pytest.param(8, marks=pytest.mark.faults)])
async def test_a_slot_fires_once_under_two_schedulers_of_which_one_is_killed(cluster: Cluster, deaths: int) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    names = [f"s{number}" for number in range(12)]
    for name in names:
        await put(cluster, name, cron="* * * * * *", seconds=True, task={"name": "quick", "args": {"n": 1}})
    for number in range(deaths):
        point = ("after", "before")[number % 2]
        end = f"cron.{point}_commit=exit@{random.randint(1, 3)}"  # in the middle of it
        other = await cluster.start("other", "scheduler", callboard_test_failpoints=end)
        with trio.fail_after(20):
            await other.process.wait()
    await trio.sleep(1.2)
    for name in names:
        await cluster.post(f"schedules/{name}/pause", {"reason": "counted"})
    tasks: list[str] = []
    for name in names:
        slots = await ledger(cluster, name)
        assert len(slots) >= 3
        every_second_once(slots)
        tasks += [slot["task"] for slot in slots]
    assert len(set(tasks)) == len(tasks)
    await cluster.until_started([int(one) for one in tasks])
    assert set(Counter(event["task"] for event in cluster.events("start")).values()) == {1}
    page = await cluster.get("tasks", schedule="s3", limit=1)
    assert page["items"][0]["schedule"] == "s3"
    health = await cluster.http.get(f"http://127.0.0.1:{server.ready['http']}/healthz")
    assert health.json()["checks"]["schedules"]["status"] == "ok"
    metrics = await cluster.http.get(f"http://127.0.0.1:{server.ready['http']}/metrics")
    assert "callboard_schedules_overdue 0.0" in metrics.text


async def test_tasks_of_a_schedule_never_overlap_where_it_says_so(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server, callboard_cancel_grace=0.5)
    policies = ("skip", "queue_one", "cancel_running")
    for policy in policies:
        await put(cluster, policy, every=1, overlap=policy, task={"name": "nap", "args": {"seconds": 1.6}})
    await trio.sleep(4.3)
    for policy in policies:
        await cluster.post(f"schedules/{policy}/pause")
    for policy in policies:
        slots = await ledger(cluster, policy)
        tasks = {int(slot["task"]) for slot in slots if slot["task"]}
        for task in tasks:
            assert (await cluster.final(task))["state"] in ("succeeded", "cancelled")
        running: set[int] = set()
        for event in cluster.events():
            if event["task"] not in tasks:
                continue
            running = running | {event["task"]} if event["kind"] == "start" else running - {event["task"]}
            assert len(running) <= 1, (policy, event)
        assert len(tasks) >= 2
        reasons = [slot["reason"] for slot in slots if slot["state"] == "skipped"]
        assert reasons or policy == "cancel_running"
        assert all(reason.startswith("overlap") or reason == "paused" for reason in reasons)
