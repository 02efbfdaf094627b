"""Tasks that nobody takes are found by the name of their handler."""

from __future__ import annotations

from dataclasses import replace

from actors.model.worker import HandlerInfo, WorkerInfo
from tests.support.bench import LEASE, Bench, later

WORKER = WorkerInfo(id="w", name="w", slots=1, handlers=[HandlerInfo(name="demo")])


async def open_session(bench: Bench, worker: WorkerInfo, lease: float = LEASE) -> None:
    await bench.dispatch.open_session(worker, secret_hash=b"s", coordinator_id="c1", lease=lease)


async def test_due_tasks_without_a_live_worker_are_told(bench: Bench) -> None:
    await bench.put(1)
    await bench.put(1, name="other", priority=4)
    assert await bench.tasks.unserved(10) == ["demo", "other"]
    assert await bench.tasks.unserved(1) == ["demo"]
    await open_session(bench, WORKER, lease=-1.0)  # has ended, and is not convicted yet
    assert await bench.tasks.unserved(10) == ["demo", "other"]
    await open_session(bench, WORKER)
    assert await bench.tasks.unserved(10) == ["other"]


async def test_a_worker_for_other_queues_is_none(bench: Bench) -> None:
    await bench.put(1)
    await open_session(bench, replace(WORKER, queues=["mail"]))
    assert await bench.tasks.unserved(10) == ["demo"]
    await open_session(bench, replace(WORKER, id="w2", queues=["mail", "default"]))
    assert await bench.tasks.unserved(10) == []


async def test_what_is_out_or_not_due_waits_for_nobody(bench: Bench) -> None:
    await bench.put(1)
    await bench.claim(await bench.session(), 1)
    await bench.put(1, name="other", run_at=later(60))
    await bench.lane("empty")
    assert await bench.tasks.unserved(10) == []
