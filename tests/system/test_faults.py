"""Processes are killed and frozen; nothing that was acknowledged is lost, and what runs is not disturbed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import psutil
import trio

from tests.support.cluster import Cluster, thaw
from tests.support.postgres import Server

VISIBLE = 4.5  # seconds from a visible death to the new start, at most; the profile of the tests is faster


async def started_elsewhere(cluster: Cluster, tasks: list[int], killed_at: float) -> float:
    """Seconds until the last of them was started by its second attempt."""
    starts = await cluster.until_started(tasks, attempt=2)
    return max(float(one["at"]) for one in starts) - killed_at


async def test_a_killed_worker_nodes_tasks_start_again_elsewhere(cluster: Cluster) -> None:
    server = await cluster.server()
    victim = await cluster.worker("victim", server)
    mine = [await cluster.submit("nap", seconds=3) for _ in range(3)]
    await cluster.until_started(mine)
    await cluster.worker("other", server)
    await cluster.until_workers(2)
    executors = victim.executors()
    assert executors
    more = [await cluster.submit("nap", seconds=5) for _ in range(4)]  # in turn: some of them on the other one
    started = await cluster.until_started(more)
    theirs = [one["task"] for one in started if one["pid"] not in {executor.pid for executor in executors}]
    assert theirs
    victim.kill()
    killed_at = time.time()
    with trio.fail_after(1):
        while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in executors):
            await trio.sleep(0.01)
    assert await started_elsewhere(cluster, mine, killed_at) < VISIBLE
    for task in mine:
        found = await cluster.final(task)
        assert (found["state"], found["attempt"], found["crashes"]) == ("succeeded", 2, 1)
    [lost] = (await cluster.get(f"tasks/{mine[0]}/attempts"))["items"]
    assert (lost["attempt"], lost["outcome"]) == (1, "lost")
    for task in theirs:
        undisturbed = await cluster.final(task)
        assert (undisturbed["state"], undisturbed["attempt"]) == ("succeeded", 1)
    assert len(await cluster.workers("lost")) == 1


async def test_a_killed_executors_tasks_are_reported_and_start_again(cluster: Cluster) -> None:
    server = await cluster.server()
    worker = await cluster.worker("w", server)
    tasks = [await cluster.submit("nap", seconds=2) for _ in range(2)]
    await cluster.until_started(tasks)
    [executor] = worker.executors()
    executor.kill()
    killed_at = time.time()
    assert await started_elsewhere(cluster, tasks, killed_at) < VISIBLE
    for task in tasks:
        found = await cluster.final(task)
        assert (found["state"], found["attempt"], found["crashes"]) == ("succeeded", 2, 1)
    [crash] = (await cluster.get(f"tasks/{tasks[0]}/attempts"))["items"]
    assert (crash["outcome"], crash["evidence"]["signal"]) == ("crashed", "SIGKILL")
    assert len(await cluster.workers()) == 1


async def test_a_task_that_kills_its_executor_is_set_aside_and_its_neighbours_are_not(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    neighbour = await cluster.submit("nap", seconds=8)
    await cluster.until_started([neighbour])
    poison = await cluster.submit("suicide")
    found = await cluster.final(poison, limit=40)
    assert (found["state"], found["crashes"]) == ("quarantined", 3)
    attempts = (await cluster.get(f"tasks/{poison}/attempts"))["items"]
    assert [one["outcome"] for one in attempts] == ["crashed"] * 3
    assert (await cluster.final(neighbour))["state"] == "succeeded"
    assert len(await cluster.workers()) == 1


async def test_a_coordinator_that_dies_and_comes_back_repeats_no_work(cluster: Cluster) -> None:
    cluster.profile = "fast"  # a lease that outlasts the start of a process
    await cluster.server("front", "scheduler,api")
    first = await cluster.server("first", "coordinator")
    await cluster.worker("w", first)
    await cluster.until_workers(1)
    tasks = [await cluster.submit("nap", seconds=seconds) for seconds in (0.7, 4)]
    await cluster.until_started(tasks)
    first.kill()
    await first.process.wait()
    await trio.sleep(1.2)  # the short one ends meanwhile; its outcome waits at the worker
    assert [event["task"] for event in cluster.events("end")] == tasks[:1]
    await cluster.server("second", "coordinator", callboard_grpc_port=first.ready["grpc"])
    for task in tasks:
        found = await cluster.final(task)
        assert (found["state"], found["attempt"]) == ("succeeded", 1)
    assert Counter(event["task"] for event in cluster.events("start")) == dict.fromkeys(tasks, 1)


async def test_workers_find_the_other_coordinator_when_theirs_dies(cluster: Cluster) -> None:
    await cluster.server("front", "scheduler,api")
    cluster.profile = "fast"
    second = await cluster.server("second", "coordinator")
    first = await cluster.server("first", "coordinator")
    await cluster.worker("w", first)  # it is told of the second one
    await cluster.until_workers(1)
    running = await cluster.submit("nap", seconds=2.5)
    await cluster.until_started([running])
    first.kill()
    with trio.fail_after(10):
        while not await linked(cluster, second.ready["node"]):
            await trio.sleep(0.05)
    more = await cluster.submit("quick")
    assert (await cluster.final(more))["state"] == "succeeded"
    found = await cluster.final(running)
    assert (found["state"], found["attempt"]) == ("succeeded", 1)


async def linked(cluster: Cluster, coordinator: str) -> int:
    """How many workers are linked to it."""
    found = (await cluster.get("coordinators"))["items"]
    return sum(one["workers"] for one in found if one["id"] == coordinator)


async def test_two_coordinators_over_one_database_share_the_work(cluster: Cluster) -> None:
    first = await cluster.server("first")
    second = await cluster.server("second", "coordinator")
    await cluster.worker("w1", first)
    await cluster.worker("w2", second)
    await cluster.until_workers(2)
    ids = await cluster.batch([{"name": "nap", "args": {"seconds": 0.05}}] * 300)
    for task in ids:
        assert (await cluster.final(task))["state"] == "succeeded"
    assert Counter(event["task"] for event in cluster.events("start")) == dict.fromkeys(ids, 1)
    assert len({event["pid"] for event in cluster.events("start")}) == 2


async def test_a_frozen_worker_is_replaced_and_its_late_outcome_is_refused(cluster: Cluster) -> None:
    server = await cluster.server()
    frozen = await cluster.worker("frozen", server)
    task = await cluster.submit("nap", seconds=1)
    await cluster.until_running(task)  # a start that the database knows of: only that can be lost
    pids = frozen.freeze()
    await cluster.worker("other", server)
    found = await cluster.final(task)  # lease, sweep and dispatch: about 4 s with this profile
    assert (found["state"], found["attempt"]) == ("succeeded", 2)
    assert found["worker"].startswith("other")
    thaw(pids)
    await cluster.until_workers(2)
    with trio.fail_after(10):
        while len(attempts := (await cluster.get(f"tasks/{task}/attempts"))["items"]) < 2:
            await trio.sleep(0.1)
    assert [(one["attempt"], one["accepted"]) for one in attempts] == [(1, True), (1, False)]
    assert attempts[0]["outcome"] == "lost"
    again = await cluster.task(task)
    assert (again["state"], again["result"]) == ("succeeded", "slept")


async def test_a_handler_that_holds_its_loop_does_not_cost_the_lease(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    task = await cluster.submit("spin", seconds=5)  # the lease of this profile is 3 s
    found = await cluster.final(task)
    assert (found["state"], found["attempt"]) == ("succeeded", 1)
    assert await cluster.workers("lost") == []


async def test_a_database_that_crashes_under_load_loses_nothing_and_repeats_nothing(
    cluster: Cluster, postgres_server: Server
) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    await cluster.until_workers(1)
    running = [await cluster.submit("nap", seconds=3) for _ in range(3)]
    await cluster.until_started(running)
    acknowledged: list[int] = []
    stop = trio.Event()

    async def load() -> None:
        while not stop.is_set():
            response = await cluster.http.post("tasks", json={"name": "quick"})
            assert response.status_code in (201, 503), response.text
            if response.status_code == 201:
                acknowledged.append(int(response.json()["id"]))
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        await trio.sleep(0.5)
        await trio.to_thread.run_sync(postgres_server.restart, signal.SIGQUIT)
        before = len(acknowledged)
        with trio.fail_after(15):
            while len(acknowledged) < before + 20:
                await trio.sleep(0.05)
        stop.set()
    for task in [*running, *acknowledged]:
        found = await cluster.final(task)
        assert found["state"] == "succeeded"
    for task in running:
        assert (await cluster.task(task))["attempt"] == 1
    assert Counter(event["task"] for event in cluster.events("start") if event["task"] in running) == dict.fromkeys(
        running, 1
    )
    assert await cluster.workers("lost") == []


async def test_a_worker_without_its_coordinator_stops_its_own_work_before_the_lease_ends(cluster: Cluster) -> None:
    server = await cluster.server()
    worker = await cluster.worker("w", server)
    task = await cluster.submit("nap", seconds=60)
    await cluster.until_started([task])
    os.kill(server.pid, signal.SIGSTOP)
    frozen_at = time.time()
    with trio.fail_after(10):
        while not (ended := cluster.events("cancelled", task)):
            await trio.sleep(0.05)
    assert ended[0]["at"] - frozen_at < 3.0  # the lease
    thaw([server.pid])
    await cluster.until_workers(1)
    assert worker.process.poll() is None
    await cluster.until_started([task], attempt=2)
