"""Limits that hold on all workers of all coordinators, whoever dies, in real processes."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

import psutil
import pytest
import trio

from tests.support.cluster import Cluster

BELOW = 5.0  # seconds that a killed worker's share may be missing: its detection, and a poll


def most_at_once(events: list[dict[str, Any]], died: dict[int, float]) -> int:
    """By the workers' own log; what a process had begun ended with the process."""
    marks: list[tuple[float, int]] = []
    ends = {(one["task"], one["attempt"]): one["at"] for one in events if one["kind"] != "start"}
    for one in events:
        if one["kind"] == "start":
            end = ends.get((one["task"], one["attempt"]), died.get(one["pid"], float("inf")))
            marks += [(one["at"], 1), (end, -1)]
    running = most = 0
    for _, change in sorted(marks):
        running += change
        most = max(most, running)
    return most


async def test_five_at_once_is_five_with_three_coordinators_and_a_killed_worker(cluster: Cluster) -> None:
    front = await cluster.server("front")
    others = [await cluster.server(name, "coordinator") for name in ("second", "third")]
    for name, coordinator in zip("abc", (front, *others), strict=True):
        await cluster.worker(name, coordinator, callboard_slots=10)
    await cluster.until_workers(3)
    response = await cluster.http.patch("queues/default", json={"concurrency": 5})
    assert response.is_success, response.text
    ids = await cluster.batch([{"name": "nap", "args": {"seconds": 0.2}} for _ in range(40)])
    with trio.fail_after(15):
        while len(cluster.events("end")) < 8:
            await trio.sleep(0.02)
    victim = cluster.nodes["a"]
    pids = [executor.pid for executor in victim.executors()]
    victim.kill()
    died = dict.fromkeys(pids, time.time() + 0.1)
    for task in ids:
        assert (await cluster.final(task))["state"] == "succeeded"
    events = cluster.events()
    assert most_at_once(events, died) == 5
    starts = sorted(one["at"] for one in events if one["kind"] == "start")
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert max(gaps) < BELOW


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
async def test_five_at_once_is_five_for_a_minute_of_kills(cluster: Cluster, seed: int) -> None:
    dice = random.Random(seed)
    await cluster.server("front", "scheduler,api")
    homes = {name: await cluster.server(name, "coordinator") for name in ("c1", "c2", "c3")}
    ports = {name: home.ready["grpc"] for name, home in homes.items()}
    for name in "abc":
        await cluster.worker(name, *homes.values(), callboard_slots=10)
    await cluster.until_workers(3)
    assert (await cluster.http.patch("queues/default", json={"concurrency": 5})).is_success
    ids = await cluster.batch([{"name": "nap", "args": {"seconds": 0.3}} for _ in range(1_000)])
    died: dict[int, float] = {}
    for _ in range(12):
        await trio.sleep(dice.uniform(1, 4))
        name = dice.choice(["a", "b", "c", "c1", "c2", "c3"])
        victim = cluster.nodes[name]
        executors = victim.executors()
        victim.kill()
        with trio.fail_after(5):
            while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in executors):
                await trio.sleep(0.005)
        died |= dict.fromkeys([one.pid for one in executors], time.time())
        await victim.process.wait()
        if name in ports:
            homes[name] = await cluster.server(name, "coordinator", callboard_grpc_port=ports[name])
        else:
            await cluster.worker(name, *homes.values(), callboard_slots=10)
    for task in ids:
        assert (await cluster.final(task, 120))["state"] == "succeeded"
    events = cluster.events()
    assert most_at_once(events, died) == 5
    starts = sorted(one["at"] for one in events if one["kind"] == "start")
    assert max(later - earlier for earlier, later in itertools.pairwise(starts)) < BELOW


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    await cluster.until_workers(1)
    await cluster.post("queues/default/pause", {"reason": "a move"})
    await cluster.post("handlers/nap/pause")
    [quick] = await cluster.batch([{"name": "quick"}])
    [other] = await cluster.batch([{"name": "quick", "queue": "other"}])
    await cluster.final(other)
    assert (await cluster.task(quick))["state"] == "queued"
    await cluster.post("queues/default/resume")
    await cluster.final(quick)
    [nap] = await cluster.batch([{"name": "nap", "args": {"seconds": 0}}])
    [last] = await cluster.batch([{"name": "quick"}])
    await cluster.final(last)
    assert (await cluster.task(nap))["state"] == "queued"
    await cluster.post("handlers/nap/resume")
    await cluster.final(nap)


async def test_tenants_take_turns_while_one_has_a_long_backlog(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    await cluster.until_workers(1)
    await cluster.http.patch("queues/default", json={"concurrency": 4, "concurrency_per_key": 2, "paused": True})
    big = await cluster.batch([{"name": "quick", "concurrency_key": "big"} for _ in range(200)])
    small = await cluster.batch([{"name": "quick", "concurrency_key": f"s{n % 3}"} for n in range(60)])
    await cluster.post("queues/default/resume")
    for task in [*small, *big[-1:]]:
        await cluster.final(task)
    order = [one["task"] for one in cluster.events("start")]
    last = max(order.index(task) for task in small)
    served = sum(task in set(big) for task in order[:last])
    assert served <= 30  # a fair share beside three others is 20


async def test_a_heavy_task_takes_as_many_slots_as_it_weighs(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server, callboard_slots=4)
    await cluster.until_workers(1)
    weights = [1, 1, 3, 1, 1, 4, 1, 2, 1, 9, 1, 1]
    body = [{"name": "nap", "args": {"seconds": 0.2}, "weight": weight} for weight in weights]
    ids = await cluster.batch(body)
    for task in ids:
        assert (await cluster.final(task))["state"] == "succeeded"
    events = cluster.events()
    weight_of = {task: min(4, weight) for task, weight in zip(ids, weights, strict=True)}
    running = most = 0
    for event in events:
        running += weight_of[event["task"]] * (1 if event["kind"] == "start" else -1)
        most = max(most, running)
    assert most == 4
    starts = [event["task"] for event in events if event["kind"] == "start"]
    assert starts.index(ids[5]) < starts.index(ids[8])  # what is lighter and came later has not kept it waiting
