"""Limits, turns and places of tasks, in PostgreSQL: counted from what is out, under locks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from actors.model.columns import Outcome
from actors.model.ports import ClaimOffer, LimitedShares
from actors.model.queue import QueuePatch, Rate
from actors.model.task import NewTask
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo
from storage.store import Store
from tests.support.bench import Bench, outcomes


async def limit(store: Store, queue: str = "default", **limits: Any) -> None:
    await store.queues.set_queue(queue, QueuePatch(fields=frozenset(limits), **limits))


async def post(bench: Bench, count: int = 1, **options: Any) -> list[int]:
    answers = await bench.tasks.submit([NewTask(name="demo", **options) for _ in range(count)])
    return [answer.id for answer in answers if not isinstance(answer, Exception)]


async def special(bench: Bench, *sessions: Session, count: int = 10) -> LimitedShares:
    """A claim under limits by a coordinator that has these workers."""
    lanes = [lane.id for lane in await bench.dispatch.lanes()]
    held = [(session.id, session.epoch) for session in sessions]
    turns = [place % len(sessions) for place in range(count)]
    return await bench.dispatch.claim_limited(ClaimOffer(os.urandom(16), lanes, held, turns, 5.0, 2.0))


async def usual(bench: Bench, session: Session, count: int = 10) -> list[int]:
    lanes = [lane.id for lane in await bench.dispatch.lanes()]
    shares, _ = await bench.dispatch.claim(
        lease_key=os.urandom(16), lanes=lanes, sessions=[(session.id, session.epoch)], slots=[0] * count,
        ack_window=5.0, claim_margin=2.0,
    )  # fmt: skip
    return [task for share in shares for task in share.assignment.ids]


def ids(found: LimitedShares) -> list[int]:
    return [task for share in found.shares for task in share.assignment.ids]


def helds(found: LimitedShares) -> list[Held]:
    return [
        Held(task, attempt, share.assignment.lease_key)
        for share in found.shares
        for task, attempt in zip(share.assignment.ids, share.assignment.attempts, strict=True)
    ]


async def test_no_more_are_out_than_the_limit_says_whoever_claims(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=5)
    await post(postgres, 40)
    first, second = await postgres.session("a"), await postgres.session("b", coordinator="c2")
    assert await usual(postgres, first) == []
    found: list[LimitedShares] = []

    async def claim(session: Session) -> None:
        found.append(await special(postgres, session))

    for _ in range(4):
        async with trio.open_nursery() as nursery:
            for session in (first, second, first, second):
                nursery.start_soon(claim, session)
        out = [one for shares in found for one in helds(shares)]
        assert len(out) == 5
        await postgres.end(out[0], Outcome.SUCCEEDED)
        await postgres.end(out[1], Outcome.RELEASED)
        found = [await special(postgres, first)]
        assert len(ids(found[0])) == 2
        for one in [*out[2:], *helds(found[0])]:
            await postgres.end(one, Outcome.SUCCEEDED)
        found = []


async def test_what_a_dead_worker_held_frees_its_share(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=2)
    await post(postgres, 5)
    dead, alive = await postgres.session("a"), await postgres.session("b")
    assert len(ids(await special(postgres, dead))) == 2
    assert ids(await special(postgres, alive)) == []
    await postgres.change("workers", {"session_id": dead.id}, state="dead", ended_at="2026-01-01Z")
    await postgres.dispatch.sweep(100, "c1", lease=None)
    assert len(ids(await special(postgres, alive))) == 2


async def test_what_was_out_before_there_was_a_limit_counts(postgres: Bench, store: Store) -> None:
    await post(postgres, 10)
    session = await postgres.session()
    assert len(await usual(postgres, session, 3)) == 3
    await limit(store, concurrency=4)
    assert len(ids(await special(postgres, session))) == 1
    await limit(store, concurrency=None)
    assert len(await usual(postgres, session, 3)) == 3


async def test_weights_are_counted_and_a_heavy_task_is_not_overtaken(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=5)
    heavy = await post(postgres, 3, weight=2)
    light = await post(postgres, 3)
    session = await postgres.session()
    found = await special(postgres, session)
    assert ids(found) == heavy[:2]
    await postgres.end(helds(found)[0], Outcome.SUCCEEDED)
    assert ids(await special(postgres, session)) == [heavy[2], light[0]]


async def test_what_is_heavier_than_the_limit_runs_alone(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=2)
    light, heavy = await post(postgres, 1), await post(postgres, 1, weight=3)
    session = await postgres.session()
    first = await special(postgres, session)
    assert ids(first) == light
    await postgres.end(helds(first)[0], Outcome.SUCCEEDED)
    await post(postgres, 1)
    assert ids(await special(postgres, session)) == heavy


async def test_keys_take_turns_within_their_limits(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency_per_key=2)
    for key, count in (("a", 50), ("b", 3), ("c", 1)):
        await post(postgres, count, concurrency_key=key)
    without = await post(postgres, 4)
    session = await postgres.session()
    found = await special(postgres, session, count=6)
    keys = await keys_of(postgres, ids(found))
    assert keys == ["a", "b", "c", None, "a", "b"]
    more = await special(postgres, session, count=6)
    assert ids(more) == without[1:]
    assert not more.more


async def test_the_next_claim_goes_on_after_the_last_turn(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency_per_key=10)
    for key in "abcde":
        await post(postgres, 10, concurrency_key=key)
    session = await postgres.session()
    seen: list[str | None] = []
    for _ in range(5):
        seen += await keys_of(postgres, ids(await special(postgres, session, count=3)))
    assert seen == list("abcdeabcdeabcde")


async def test_a_hundred_tenants_get_equal_shares(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=20, concurrency_per_key=3)
    for number in range(100):
        await post(postgres, 5 + number * 3 % 50, concurrency_key=f"tenant-{number}")
    session = await postgres.session()
    served: Counter[str | None] = Counter()
    for _ in range(25):
        found = await special(postgres, session, count=50)
        served.update(await keys_of(postgres, ids(found)))
        await postgres.dispatch.complete(outcomes(helds(found), Outcome.SUCCEEDED))
    assert sum(served.values()) == 500
    assert set(served.values()) == {5}


async def keys_of(bench: Bench, tasks: Sequence[int]) -> list[str | None]:
    rows = {row["id"]: row["concurrency_key"] for row in await bench.rows("tasks")}
    return [rows[task] for task in tasks]


async def test_no_more_start_within_a_period_than_the_rate_says(postgres: Bench, store: Store) -> None:
    await limit(store, rate=Rate(3, 3600.0))
    await post(postgres, 10)
    session = await postgres.session()
    first = await special(postgres, session)
    assert len(ids(first)) == 3
    for one in helds(first):
        await postgres.end(one, Outcome.SUCCEEDED)
    second = await special(postgres, session)
    assert ids(second) == []
    assert second.again is not None
    assert 3000 < second.again <= 3700
    await postgres.database.execute("UPDATE callboard_rates SET until = until - interval '63 minutes'")
    assert len(ids(await special(postgres, session))) == 3


async def test_rates_of_keys(postgres: Bench, store: Store) -> None:
    await limit(store, rate_per_key=Rate(1, 3600.0))
    for key in ("a", "a", "b"):
        await post(postgres, 1, concurrency_key=key)
    session = await postgres.session()
    assert await keys_of(postgres, ids(await special(postgres, session))) == ["a", "b"]
    again = await special(postgres, session)
    assert ids(again) == []
    assert again.again is not None


async def test_nothing_of_a_paused_queue_or_name_starts(postgres: Bench, store: Store) -> None:
    await post(postgres, 3)
    session = await postgres.session()
    await limit(store, paused=True, paused_reason="a move")
    shown = await store.queues.queue("default")
    assert (shown.paused, shown.paused_reason, shown.depth, shown.due) == (True, "a move", 3, 3)
    assert (await usual(postgres, session), ids(await special(postgres, session))) == ([], [])
    await limit(store, paused=False)
    await store.queues.pause_name("demo", "broken")
    assert [one.reason for one in await store.queues.paused_names()] == ["broken"]
    assert (await usual(postgres, session), ids(await special(postgres, session))) == ([], [])
    await store.queues.resume_name("demo")
    assert len(await usual(postgres, session)) == 3


async def test_special_tasks_wait_behind_what_is_before_them(postgres: Bench, store: Store) -> None:
    await limit(store, "limited", concurrency=10)
    late = await post(postgres, 3, queue="limited", priority=4)
    early = await post(postgres, 4)
    session = await postgres.session()
    assert ids(await special(postgres, session, count=4)) == []
    assert await usual(postgres, session, 4) == early
    assert ids(await special(postgres, session, count=4)) == late


async def test_tasks_of_an_affinity_key_go_to_one_worker(postgres: Bench, store: Store) -> None:
    sessions = [await postgres.session(name) for name in "abc"]
    await post(postgres, 6, affinity_key="model-7")
    found = await special(postgres, *sessions, count=18)
    [share] = found.shares
    assert len(share.assignment.ids) == 6
    others = [session for place, session in enumerate(sessions) if place != share.slot]
    more = await post(postgres, 1, affinity_key="model-7")
    waiting = await special(postgres, *others)
    assert (ids(waiting), waiting.again) == ([], 0.25)
    await postgres.change("tasks", {"id": more[0]}, run_at="2026-01-01Z")
    assert ids(await special(postgres, *others)) == more


async def test_a_retry_goes_to_another_worker(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=10)
    first, second = await postgres.session("a"), await postgres.session("b")
    await post(postgres, 1, max_tries=3, backoff={"kind": "fixed", "base": 0, "cap": 0, "jitter": False})
    found = await special(postgres, first)
    await postgres.end(helds(found)[0], Outcome.FAILED)
    assert ids(await special(postgres, first)) == []
    assert len(ids(await special(postgres, first, second, count=2))) == 1


async def test_a_claim_whose_answer_was_lost_can_be_asked_for(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=3)
    tasks = await post(postgres, 5)
    session = await postgres.session()
    found = await special(postgres, session)
    [share] = await postgres.dispatch.claimed(found.shares[0].assignment.lease_key, [(session.id, session.epoch)])
    assert share.assignment.ids == tasks[:3]


async def test_a_worker_that_may_get_nothing_gets_nothing(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=3)
    await post(postgres, 5)
    session = await postgres.session()
    await postgres.change("workers", {"session_id": session.id}, paused=True)
    found = await special(postgres, session)
    assert (ids(found), found.more) == ([], False)


async def test_what_ends_is_told_to_other_coordinators(postgres: Bench, store: Store) -> None:
    await limit(store, concurrency=1)
    await post(postgres, 2)
    found = await special(postgres, await postgres.session())
    hints = store.notifier.subscribe("due")
    await postgres.end(helds(found)[0], Outcome.SUCCEEDED)
    hints.receive_nowait()


async def test_a_worker_of_some_queues(postgres: Bench, store: Store) -> None:
    """Affinity looks only at those who may have the task."""
    info = WorkerInfo(id="x", name="x", slots=10, queues=["other"], handlers=[HandlerInfo(name="demo")])
    await postgres.dispatch.open_session(info, secret_hash=b"s", coordinator_id="c1", lease=12.0)
    mine = await postgres.session("y")
    for number in range(8):
        await post(postgres, 1, affinity_key=f"k{number}")
    assert len(ids(await special(postgres, mine))) == 8


async def test_handlers_are_shown_with_who_knows_them(postgres: Bench, store: Store) -> None:
    await postgres.handler("demo", queue="mail", max_tries=3, timeout=5.0)
    await store.queues.pause_name("unknown", "broken")
    [declared, paused] = await store.queues.handlers()
    assert (declared.name, declared.live, declared.queue, declared.max_tries, declared.timeout) == (
        "demo", False, "mail", 3, 5.0,
    )  # fmt: skip
    assert (paused.name, paused.live, paused.paused_reason) == ("unknown", False, "broken")
    await postgres.session("w")
    assert [(one.name, one.live) for one in await store.queues.handlers()] == [("demo", True), ("unknown", False)]


async def test_queues_are_shown_with_what_is_in_them(postgres: Bench, store: Store) -> None:
    await post(postgres, 3)
    await post(postgres, 2, queue="mail", delay=60.0)
    await limit(store, "empty", rate=Rate(5, 60.0), keep_succeeded=3600.0)
    session = await postgres.session()
    assert len(await usual(postgres, session, 1)) == 1
    default, empty, mail = await store.queues.queues()
    assert (default.name, default.depth, default.due, default.running) == ("default", 2, 2, 1)
    assert default.oldest is not None
    assert (empty.name, empty.rate, empty.keep_succeeded, empty.depth) == ("empty", Rate(5, 60.0), 3600.0, 0)
    assert (mail.name, mail.depth, mail.due, mail.oldest) == ("mail", 2, 0, None)


@pytest.mark.parametrize("kind", ["waiting for their time", "at their limits"])
async def test_keys_that_may_start_nothing_keep_nobody_from_a_turn(postgres: Bench, store: Store, kind: str) -> None:
    await limit(store, concurrency_per_key=1)
    session = await postgres.session()
    for number in range(1_300):
        key = f"a{number:04}"
        if kind == "at their limits":
            await post(postgres, 2, concurrency_key=key)
        else:
            await post(postgres, 1, concurrency_key=key, delay=3_600.0)
    if kind == "at their limits":
        while ids(await special(postgres, session, count=500)):
            pass
    [last] = await post(postgres, 1, concurrency_key="z")
    for _ in range(4):
        found = await special(postgres, session, count=5)
        if ids(found):
            break
        assert found.again is not None  # it is looked on soon, and not at once for ever
        assert not found.more
    assert ids(found) == [last]
    done = await special(postgres, session, count=5)
    assert ids(done) == []


async def test_starts_that_no_window_reaches_are_forgotten(postgres: Bench, store: Store) -> None:
    await limit(store, rate_per_key=Rate(5, 10.0))
    for key in ("a", "b"):
        await post(postgres, 1, concurrency_key=key)
    await special(postgres, await postgres.session())
    assert len(await postgres.rows("rates")) == 2
    await postgres.database.execute("UPDATE callboard_rates SET gone = gone - interval '1 minute' WHERE key = 'a'")
    await postgres.tasks.prune(100)
    assert [row["key"] for row in await postgres.rows("rates")] == ["b"]
