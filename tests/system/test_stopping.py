"""Nodes that are asked to stop: on time, sooner when asked twice, and without repeating work."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.support.cluster import Cluster, Node


async def asked_to_stop(node: Node, limit: float) -> int:
    """The exit code, within so many seconds."""
    node.process.send_signal(signal.SIGTERM)
    with trio.fail_after(limit):
        return await node.process.wait()


async def test_a_second_sigterm_waits_for_nobody(cluster: Cluster) -> None:
    server = await cluster.server(callboard_drain=30)
    worker = await cluster.worker("w", server)
    task = await cluster.submit("nap", seconds=60)
    [started] = await cluster.until_started([task])
    worker.process.send_signal(signal.SIGTERM)
    with trio.move_on_after(0.5):
        await worker.process.wait()
        raise AssertionError("it did not wait for what runs")
    assert await asked_to_stop(worker, 5) == 0
    assert (await cluster.task(task))["state"] == "queued"  # at once: it was handed back
    assert [one["outcome"] for one in (await cluster.get(f"tasks/{task}/attempts"))["items"]] == ["released"]
    assert started["attempt"] == 1

    async with held_up(server.ready["http"], task):
        server.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(0.5):
            await server.process.wait()
            raise AssertionError("it did not wait for the open request")
        await asked_to_stop(server, 5)


@asynccontextmanager
async def held_up(port: int, task: int) -> Any:
    """A client whose request is never complete."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        head = ["Host: x", "Content-Type: application/json", "Content-Length: 99", "", "{"]
        await stream.send_all("\r\n".join([f"PATCH /api/v1/tasks/{task} HTTP/1.1", *head]).encode())
        await trio.sleep(0.2)
        yield


async def test_an_api_ends_although_a_client_does_not_read(cluster: Cluster) -> None:
    server = await cluster.server(callboard_drain=3)
    await cluster.batch([{"name": "noop", "args": {"text": "x" * 60_000}} for _ in range(40)])
    async with await trio.open_tcp_stream("127.0.0.1", server.ready["http"]) as stream:
        await stream.send_all(b"GET /api/v1/tasks?limit=500 HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        assert await stream.receive_some(15)
        await trio.sleep(0.3)  # until nothing more fits into the sockets
        assert await asked_to_stop(server, 8) == 0


@pytest.mark.faults
async def test_a_rolling_restart_under_load_repeats_nothing_and_loses_nothing(cluster: Cluster) -> None:
    cluster.profile = "fast"
    await cluster.server("front", "scheduler,api")
    coordinators = [await cluster.server(f"c{number}", "coordinator") for number in (1, 2)]
    workers = [await cluster.worker(f"w{number}", *coordinators) for number in (1, 2)]
    await cluster.until_workers(2)
    ids: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load, cluster, ids)
        for node in coordinators:
            assert await asked_to_stop(node, 20) == 0
            await cluster.server(f"{node.name}-anew", "coordinator", callboard_grpc_port=node.ready["grpc"])
            await trio.sleep(0.5)
        for node in workers:
            assert await asked_to_stop(node, 20) == 0
            await cluster.worker(f"{node.name}-anew", *coordinators)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    for task in ids:
        assert (await cluster.final(task))["state"] == "succeeded"
    starts = Counter(event["task"] for event in cluster.events("start"))
    assert {task: starts[task] for task in ids} == dict.fromkeys(ids, 1)
    assert len(ids) > 100


async def load(cluster: Cluster, ids: list[int]) -> None:
    """Short and longer tasks, until cancelled between two batches."""
    while True:
        some = [{"name": "quick", "args": {}}] * 4 + [{"name": "nap", "args": {"seconds": 0.4}}]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
            ids += await cluster.batch(some)
        await trio.sleep(0.1)
