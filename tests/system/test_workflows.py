"""Tasks that wait for each other, in real processes of which some are killed."""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest
import trio

from tests.support.cluster import Cluster


async def workflow_of(cluster: Cluster, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    posted = await cluster.post("workflows", {"tasks": tasks})
    return {"id": posted["id"], "ids": {ref: int(number) for ref, number in posted["ids"].items()}}


async def ended(cluster: Cluster, number: str, seconds: float = 60) -> dict[str, Any]:
    with trio.fail_after(seconds):
        while (shown := await cluster.get(f"workflows/{number}"))["state"] == "running":
            await trio.sleep(0.1)
    return dict(shown)


def layered(layers: int, width: int) -> list[dict[str, Any]]:
    """Each task depends on three of the layer before."""
    return [
        {
            "ref": f"{layer}.{place}", "name": "quick", "args": {"n": layer},
            "depends_on": [f"{layer - 1}.{(place + step) % width}" for step in (0, 1, 7)] if layer else [],
        }
        for layer in range(layers) for place in range(width)
    ]  # fmt: skip


async def test_a_graph_runs_in_its_order_although_its_nodes_are_killed(cluster: Cluster) -> None:
    server = await cluster.server()
    for name in ("a", "b"):
        await cluster.worker(name, server)
    await cluster.until_workers(2)
    graph = layered(8, 25)
    posted = await workflow_of(cluster, graph)
    with trio.fail_after(30):
        while not cluster.events("start"):
            await trio.sleep(0.01)
    cluster.nodes["a"].kill()
    server.kill()
    await server.process.wait()
    await cluster.server("again", callboard_grpc_port=server.ready["grpc"])
    shown = await ended(cluster, posted["id"])
    assert (shown["state"], shown["counts"]) == ("succeeded", {"succeeded": len(graph)})
    first: dict[int, float] = {}
    for event in cluster.events("start"):
        first.setdefault(event["task"], event["at"])
    ids = posted["ids"]
    assert set(first) == set(ids.values())
    early = [
        (task["ref"], parent)
        for task in graph for parent in task["depends_on"] if first[ids[task["ref"]]] < first[ids[parent]]
    ]  # fmt: skip
    assert early == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_ten_thousand_tasks_end_once_each_whoever_is_killed(cluster: Cluster, seed: int) -> None:
    dice = random.Random(seed)
    server = await cluster.server()
    ports = {"callboard_grpc_port": server.ready["grpc"], "callboard_http_port": server.ready["http"]}
    for name in "abc":
        await cluster.worker(name, server)
    await cluster.until_workers(3)
    graph = layered(100, 100)
    posted = await workflow_of(cluster, graph)
    kills = 0
    while True:
        await trio.sleep(dice.uniform(0.5, 1.5))
        try:
            if (await cluster.get(f"workflows/{posted['id']}"))["state"] != "running":
                break
        except httpx.TransportError:
            continue
        if kills >= 12:
            continue
        kills += 1
        name = dice.choice(["a", "b", "c", "server"])
        victim = cluster.nodes[name]
        victim.kill()
        await victim.process.wait()
        if name == "server":
            server = await cluster.server("server", **ports)
        else:
            await cluster.worker(name, server)
    assert kills >= 3
    shown = await ended(cluster, posted["id"])
    assert (shown["state"], shown["counts"]) == ("succeeded", {"succeeded": 10_000})
    first: dict[int, float] = {}
    for event in cluster.events("start"):
        first.setdefault(event["task"], event["at"])
    ids = posted["ids"]
    assert set(first) == set(ids.values())
    assert all(
        first[ids[task["ref"]]] >= first[ids[parent]] for task in graph for parent in task["depends_on"]
    )  # fmt: skip


async def test_a_failure_cancels_what_depends_on_it_and_a_retry_brings_that_back(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    chain: list[dict[str, Any]] = [
        {"ref": "a", "name": "flaky", "args": {"fails": 9}, "max_tries": 1},
        {"ref": "b", "name": "quick", "args": {"n": 1}, "depends_on": ["a"]},
        {"ref": "c", "name": "quick", "args": {"n": 2}, "depends_on": ["b"]},
        {"ref": "anyway", "name": "quick", "args": {"n": 3}, "depends_on": ["a"], "on_parent_failure": "run"},
    ]
    posted = await workflow_of(cluster, chain)
    shown = await ended(cluster, posted["id"])
    assert (shown["state"], shown["counts"]) == ("failed", {"failed": 1, "cancelled": 2, "succeeded": 1})
    assert {event["task"] for event in cluster.events("start")} == {posted["ids"]["a"], posted["ids"]["anyway"]}
    again = await cluster.post(f"tasks/{posted['ids']['a']}/retry", {"with_children": True})
    assert (await cluster.final(int(again["id"])))["state"] == "failed"
    with trio.fail_after(10):
        while True:
            newest = (await cluster.get("tasks", limit=3))["items"]
            if [one["state"] for one in newest] == ["cancelled", "cancelled", "failed"]:
                break
            await trio.sleep(0.05)
    assert [one["retry_of"] for one in newest] == [str(posted["ids"][ref]) for ref in "cba"]


async def test_results_of_parents_reach_the_handler(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    tasks: list[dict[str, Any]] = [
        {"ref": "a", "name": "quick", "args": {"n": 3}},
        {"ref": "b", "name": "quick", "args": {"n": 4}},
        {"ref": "sum", "name": "gathered", "depends_on": ["a", "b"], "inputs": "found"},
    ]
    posted = await workflow_of(cluster, tasks)
    found = await cluster.final(posted["ids"]["sum"])
    assert (found["state"], found["result"]) == ("succeeded", {"a": 3, "b": 4})


async def test_a_task_goes_only_to_workers_with_the_labels_it_requires(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("plain", server)
    wanted = {"name": "quick", "args": {"n": 1}, "requirements": {"gpu": "a100"}}
    task = int((await cluster.post("tasks", wanted))["id"])
    other = await cluster.submit("quick", n=2)
    await cluster.final(other)
    assert (await cluster.get(f"tasks/{task}"))["state"] == "queued"
    await cluster.worker("gpu", server, callboard_labels="gpu=a100")
    assert (await cluster.final(task))["worker"].startswith("gpu")
