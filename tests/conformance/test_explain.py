"""Each reason why a task waits, made in a real database: it must be true, and going by it must help."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest

from actors.model.columns import Outcome
from actors.model.explain import Explanation, explain
from actors.model.ports import ClaimOffer
from actors.model.queue import QueuePatch, Rate
from actors.model.task import NewTask
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo
from storage.store import Store
from tests.support.bench import Bench, ago


async def post(bench: Bench, **options: Any) -> int:
    submit = bench.tasks.submit_bound if options.get("depends_on") else bench.tasks.submit
    [answer] = await submit([NewTask(**{"name": "demo", **options})])
    assert not isinstance(answer, Exception)
    return answer.id


async def why(store: Store, task: int) -> Explanation:
    facts = await store.explain.facts(task)
    assert facts is not None
    return explain(facts)


async def codes(store: Store, task: int) -> list[str]:
    return [one.code for one in (await why(store, task)).reasons]


async def first(store: Store, task: int) -> str:
    return (await why(store, task)).reasons[0].detail


@pytest.fixture
async def alive(postgres: Bench) -> None:
    """A coordinator that can claim."""
    await postgres.dispatch.sign_in("c1", "http://c1", "1", ttl=60.0)


async def worker(bench: Bench, name: str = "w1", **declared: Any) -> Session:
    info = WorkerInfo(**{"id": name, "name": name, "slots": 2, "handlers": [HandlerInfo(name="demo")], **declared})
    return await bench.dispatch.open_session(info, secret_hash=b"s", coordinator_id="c1", lease=12.0)


async def claim(bench: Bench, session: Session, count: int = 2) -> list[Held]:
    lanes = [lane.id for lane in await bench.dispatch.lanes()]
    offer = ClaimOffer(os.urandom(16), lanes, [(session.id, session.epoch)], [0] * count, 5.0, 2.0)
    found = list((await bench.dispatch.claim_limited(offer)).shares)
    if not found:
        found, _ = await bench.dispatch.claim(
            lease_key=offer.lease_key, lanes=lanes, sessions=offer.sessions, slots=offer.slots, ack_window=5.0,
            claim_margin=2.0,
        )  # fmt: skip
    return [
        Held(task, attempt, share.assignment.lease_key)
        for share in found
        for task, attempt in zip(share.assignment.ids, share.assignment.attempts, strict=True)
    ]


async def test_nobody_is_there(postgres: Bench, store: Store) -> None:
    task = await post(postgres)
    assert await codes(store, task) == ["no_coordinator", "no_worker"]
    await postgres.dispatch.sign_in("c1", "http://c1", "1", ttl=60.0)
    assert await codes(store, task) == ["no_worker"]
    session = await worker(postgres)
    assert (await why(store, task)).summary == "queued: nothing keeps it: it starts with the next claim"
    assert [one.task_id for one in await claim(postgres, session)] == [task]


async def test_those_who_are_there_can_not_take_it(postgres: Bench, store: Store, alive: None) -> None:
    await worker(postgres, "other", handlers=[HandlerInfo(name="else")])
    task = await post(postgres, queue="q", requirements={"gpu": "a100"})
    assert await first(store, task) == "none of 1 live worker knows demo"
    await worker(postgres, "deaf", queues=["default"])
    assert await first(store, task) == "deaf knows demo, but not queue q"
    await worker(postgres, "bare")
    assert await first(store, task) == "bare lacks gpu=a100"
    await worker(postgres, "good", labels={"gpu": "a100"})
    assert await codes(store, task) == []
    await postgres.tasks.set_worker("good", paused=True)
    assert await first(store, task) == "good could take it, but is paused: `callboard workers resume`"


async def test_it_is_not_due(postgres: Bench, store: Store, alive: None) -> None:
    await worker(postgres)
    task = await post(postgres, delay=250.0)
    [reason] = (await why(store, task)).reasons
    assert reason.code == "not_due"
    assert reason.detail in ("not due for 4 min 9 s", "not due for 4 min 10 s")
    found = await postgres.tasks.get(task)
    assert found is not None
    assert reason.until == found.run_at


async def test_it_failed_and_is_tried_again_later_elsewhere(postgres: Bench, store: Store, alive: None) -> None:
    session = await worker(postgres)
    task = await post(postgres, backoff={"kind": "fixed", "base": 60, "cap": 60, "jitter": False})
    [held] = await claim(postgres, session)
    await postgres.end(held, Outcome.FAILED, {"type": "ValueError", "message": "no\nluck", "traceback": None})
    [reason] = (await why(store, task)).reasons
    assert reason.code == "retrying"
    assert reason.detail.startswith("attempt 1 failed (ValueError: no luck), 1 of 4 tries are used: next in ")
    await postgres.change("tasks", {"id": task}, run_at=ago(1))
    await worker(postgres, "w2")
    [reason] = (await why(store, task)).reasons
    assert (reason.code, reason.detail) == ("worker_avoided", "it is left to others than w1, which failed it")


async def test_it_waits_for_its_parents(postgres: Bench, store: Store, alive: None) -> None:
    session = await worker(postgres)
    parents = [await post(postgres, delay=60.0) for _ in range(12)]
    task = await post(postgres, depends_on=parents)
    detail = await first(store, task)
    assert detail.startswith(f"it waits for 12 tasks to end: {parents[0]} demo (queued), ")
    assert detail.endswith(" and 2 more")
    await postgres.database.execute("UPDATE callboard_tasks SET run_at = now() WHERE state = 'queued'")
    for one in await claim(postgres, session, 12):
        await postgres.end(one, Outcome.SUCCEEDED)
    assert "a scheduler is about to tell it" in await first(store, task)
    while await postgres.tasks.resolve(100):
        pass
    assert await codes(store, task) == []


async def test_operators_have_paused_it(postgres: Bench, store: Store, alive: None) -> None:
    await worker(postgres)
    task = await post(postgres)
    await store.queues.set_queue(
        "default", QueuePatch(fields=frozenset({"paused"}), paused=True, paused_reason="a move")
    )
    await store.queues.pause_name("demo", "broken")
    queue, handler = (await why(store, task)).reasons
    assert queue.detail.startswith("queue default is paused since 20")
    assert queue.detail.endswith(": a move")
    assert (handler.code, handler.detail[-8:]) == ("handler_paused", ": broken")


async def test_limits_hold_it_back(postgres: Bench, store: Store, alive: None) -> None:
    session = await worker(postgres, slots=10)
    limits = {"concurrency": 2, "concurrency_per_key": 1, "rate": Rate(2, 60.0), "rate_per_key": Rate(1, 60.0)}
    await store.queues.set_queue("default", QueuePatch(fields=frozenset(limits), **limits))  # type: ignore[arg-type]
    out = [await post(postgres, concurrency_key=key) for key in ("a", "b")]
    task = await post(postgres, concurrency_key="a", weight=2)
    assert len(await claim(postgres, session, 5)) == 2
    reasons = (await why(store, task)).reasons
    assert [one.code for one in reasons] == ["concurrency_limit", "key_limit", "rate_limit", "key_rate_limit"]
    assert reasons[0].detail == f"queue default is at 2 of 2, held by {out[0]}, {out[1]} and it needs 2"
    assert reasons[1].detail == f"key a of queue default is at 1 of 1, held by {out[0]} and it needs 2"
    assert reasons[2].detail.startswith("queue default has started 2 of 2 tasks that may start in 60 s; the next may")
    found = await postgres.tasks.get(task)
    assert found is not None
    assert reasons[2].until is not None
    assert timedelta(seconds=50) < reasons[2].until - found.now < timedelta(seconds=62)


async def test_workers_are_busy_and_others_are_before_it(postgres: Bench, store: Store, alive: None) -> None:
    session = await worker(postgres)
    for _ in range(6):
        await post(postgres)
    urgent = await post(postgres, priority=1)
    task = await post(postgres, expires_at=(await postgres.clock()) + timedelta(hours=1))
    assert len(await claim(postgres, session)) == 2
    busy, position, expires = (await why(store, task)).reasons
    assert busy.detail == "1 worker could take it: all 2 slots are taken"
    assert position.detail == "5 due tasks of its queue come before it"
    assert (expires.code, expires.detail[-8:]) == ("expires", "from now")
    assert (await postgres.tasks.get(urgent)).state == "assigned"  # type: ignore[union-attr]


async def test_it_waits_for_the_worker_that_it_prefers(postgres: Bench, store: Store, alive: None) -> None:
    for name in "abc":
        await worker(postgres, name)
    task = await post(postgres, affinity_key="k")
    [reason] = (await why(store, task)).reasons
    assert reason.code == "affinity"
    assert reason.detail[:16] in ("it waits for a, ", "it waits for b, ", "it waits for c, ")


async def test_it_is_out(postgres: Bench, store: Store, alive: None) -> None:
    session = await worker(postgres)
    task = await post(postgres)
    [held] = await claim(postgres, session)
    found = await why(store, task)
    assert found.summary == "attempt 1 is assigned to w1; w1 has not said yet that it took it"
    assert found.placement is not None
    assert found.placement.endswith(", by coordinator c1: no other live worker serves it")
    await postgres.dispatch.mark([held], [held])
    assert (await why(store, task)).summary == "attempt 1 runs on w1"
    await postgres.tasks.cancel(task)
    assert await codes(store, task) == ["cancelling"]
    await postgres.change("workers", {"session_id": session.id}, lease_until=ago(1))
    assert await codes(store, task) == ["cancelling", "worker_silent"]


async def test_how_it_ended(postgres: Bench, store: Store, alive: None) -> None:
    session = await worker(postgres, slots=10)
    tasks = [await post(postgres, max_tries=1) for _ in range(3)]
    helds = await claim(postgres, session, 3)
    for held, kind in zip(helds, (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.FAILED_FINAL), strict=True):
        await postgres.end(held, kind)
    good, spent, final = [await why(store, task) for task in tasks]
    assert good.summary.startswith("succeeded at ")
    assert good.retry is None
    assert spent.retry == f"all 1 tries are used; `callboard tasks retry {tasks[1]}` posts it anew"
    assert final.summary.endswith("with attempt 1: ValueError: no")
    cancelled = await post(postgres)
    await postgres.tasks.cancel(cancelled)
    assert (await why(store, cancelled)).summary.endswith(": somebody asked for it")
    assert await store.explain.facts(10**9) is None


async def test_a_long_queue_is_not_counted_to_its_end(postgres: Bench, store: Store, alive: None) -> None:
    await worker(postgres)
    await postgres.put(3_000)
    task = await post(postgres)
    position = next(one for one in (await why(store, task)).reasons if one.code == "position")
    assert position.detail == "more than 1,000 due tasks of its queue come before it"
