"""What a healthy system does, in real processes."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import psutil
import trio

from tests.support.cluster import Cluster


async def test_three_thousand_quick_tasks_are_spread_evenly_and_succeed_once(cluster: Cluster) -> None:
    server = await cluster.server()
    for number in range(3):
        await cluster.worker(f"w{number}", server)
    await cluster.until_workers(3)
    for _ in range(3):  # on a machine with other work to do, equal processes are not always equally fast
        ids = await cluster.batch([{"name": "quick", "args": {"n": n}} for n in range(3_000)])
        shares = await shares_of(cluster, ids)
        if max(abs(count - 1_000) for count in shares.values()) <= 10:
            break
    assert len(shares) == 3
    assert max(abs(count - 1_000) for count in shares.values()) <= 10, shares


async def shares_of(cluster: Cluster, ids: list[int]) -> Counter[str]:
    """How many of the tasks each worker did; each of them once."""
    for task in ids[-1:] + ids[::100]:
        await cluster.final(task)
    with trio.fail_after(30):
        while (await cluster.get("tasks", state="queued,assigned,running", limit=1))["items"]:
            await trio.sleep(0.1)
    tasks: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while len(tasks) < len(ids):
        page = await cluster.get("tasks", name="quick", limit=1_000, **cursor)
        tasks += page["items"]
        cursor = {"cursor": page["next_cursor"]}
    assert {int(task["id"]) for task in tasks} == set(ids)
    assert {(task["state"], task["attempt"]) for task in tasks} == {("succeeded", 1)}
    assert sorted(task["result"] for task in tasks) == list(range(len(ids)))
    started = Counter(event["task"] for event in cluster.events("start"))
    assert all(started[task] == 1 for task in ids)
    return Counter(task["worker"] for task in tasks)


async def test_a_failing_task_is_tried_again_and_its_attempts_are_kept(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    succeeds, fails = await cluster.submit("flaky", fails=2), await cluster.submit("flaky", fails=9)
    good, bad = await cluster.final(succeeds), await cluster.final(fails)
    assert (good["state"], good["result"], good["tries"], good["attempt"]) == ("succeeded", 3, 2, 3)
    assert (bad["state"], bad["tries"]) == ("failed", 3)
    assert bad["error"]["type"] == "ValueError"
    assert "attempt 3 fails" in bad["error"]["message"]
    attempts = (await cluster.get(f"tasks/{succeeds}/attempts"))["items"]
    assert [(one["attempt"], one["outcome"]) for one in attempts] == [(1, "failed"), (2, "failed")]


async def test_cancelled_means_that_the_handler_has_left(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server, callboard_cancel_grace=0.5)
    polite, stuck = await cluster.submit("nap", seconds=60), await cluster.submit("block", seconds=60)
    await cluster.until_started([polite, stuck])
    assert (await cluster.post(f"tasks/{polite}/cancel"))["state"] == "cancelling"
    assert (await cluster.final(polite))["state"] == "cancelled"
    assert [event["kind"] for event in cluster.events(task=polite)] == ["start", "cancelled"]
    await cluster.post(f"tasks/{stuck}/cancel")
    [executor] = cluster.nodes["w"].executors()
    assert (await cluster.final(stuck))["state"] == "cancelled"
    assert not executor.is_running()  # a thread can't be stopped: its process was
    assert cluster.events("end") == []


async def test_waiting_tasks_are_cancelled_at_once_and_never_start(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    later = int((await cluster.post("tasks", {"name": "quick", "delay": 0.5}))["id"])
    assert (await cluster.post(f"tasks/{later}/cancel"))["state"] == "cancelled"
    other = int((await cluster.post("tasks", {"name": "quick", "delay": 0.8}))["id"])
    assert (await cluster.final(other))["state"] == "succeeded"
    assert cluster.events(task=later) == []


async def test_a_sigterm_lets_running_tasks_finish_and_hands_the_rest_to_others(cluster: Cluster) -> None:
    server = await cluster.server()
    first = await cluster.worker("first", server, callboard_slots=2, callboard_drain=10)
    running = [await cluster.submit("nap", seconds=1.5) for _ in range(2)]
    await cluster.until_started(running)
    await cluster.worker("second", server)
    first.process.send_signal(signal.SIGTERM)
    more = [await cluster.submit("quick") for _ in range(20)]
    with trio.fail_after(10):
        assert await first.process.wait() == 0
    for task in running:
        found = await cluster.final(task)
        assert (found["state"], found["attempt"]) == ("succeeded", 1)
    for task in more:
        assert (await cluster.final(task))["worker"].startswith("second")
    assert await cluster.workers("lost") == []


async def test_a_tasks_own_http_server_is_reachable_while_it_runs(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    task = await cluster.submit("hello")
    url = f"tasks/{task}/http/greet"
    with trio.fail_after(10):
        while (response := await cluster.http.get(url)).status_code == 409:
            await trio.sleep(0.05)
    assert (response.status_code, response.text) == (200, f"hello from {task} attempt 1 /greet")
    await cluster.post(f"tasks/{task}/cancel")
    await cluster.final(task)
    assert (await cluster.http.get(url)).status_code == 410


async def test_the_supervision_tree_shows_nodes_workers_and_restarts(cluster: Cluster) -> None:
    server = await cluster.server()
    worker = await cluster.worker("w", server)
    await cluster.until_workers(1)
    [executor] = worker.executors()
    executor.kill()
    with trio.fail_after(15):
        while not (found := restarted(await cluster.get("supervision"))):
            await trio.sleep(0.1)
    assert any("executor" in name for name in found)
    names = names_of(await cluster.get("supervision"))
    assert {"dispatcher", "sessions", "intake", "janitor", "listener", "link"} <= names


def trees(answer: dict[str, object]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    stack = list(answer["items"])  # type: ignore[call-overload]
    while stack:
        node = stack.pop()
        found.append(node)
        stack += node.get("children") or []
    return found


def names_of(answer: dict[str, object]) -> set[object]:
    return {node["name"] for node in trees(answer)}


def restarted(answer: dict[str, object]) -> list[str]:
    return [str(node["name"]) for node in trees(answer) if node.get("restarts_total")]


async def test_stopped_nodes_leave_no_process_behind(cluster: Cluster) -> None:
    server = await cluster.server()
    worker = await cluster.worker("w", server, callboard_drain=0.2, callboard_cancel_grace=0.2)
    task = await cluster.submit("nap", seconds=60)
    await cluster.until_started([task])
    children = [*psutil.Process(worker.pid).children(recursive=True)]
    assert children
    worker.process.send_signal(signal.SIGTERM)
    with trio.fail_after(8):
        assert await worker.process.wait() == 0
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    server.process.send_signal(signal.SIGTERM)
    with trio.fail_after(8):
        assert await server.process.wait() == 0
