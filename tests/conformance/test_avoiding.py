"""A retry goes to another session than the one that failed it last, while there is another."""

from __future__ import annotations

import os
from collections.abc import Sequence

from actors.model.columns import Outcome
from actors.model.worker import HandlerInfo, Session, WorkerInfo
from tests.support.bench import LEASE, Bench, ago, later


async def claim(bench: Bench, sessions: Sequence[Session], turns: Sequence[int]) -> tuple[dict[int, int], int]:
    """(task → place of the session that got it, due rows seen)."""
    shares, seen = await bench.dispatch.claim(
        lease_key=os.urandom(16),
        lanes=[await bench.lane()],
        sessions=[(one.id, one.epoch) for one in sessions],
        slots=turns,
        ack_window=5.0,
        claim_margin=2.0,
    )
    return {task: share.slot for share in shares for task in share.assignment.ids}, seen


async def failed(bench: Bench, session: Session, kind: Outcome = Outcome.FAILED) -> int:
    """A task that this session failed, due again."""
    held = await bench.held(session)
    await bench.end(held, kind, {"type": "ValueError", "message": "no", "after": 0})
    await due_now(bench)
    return held.task_id


async def due_now(bench: Bench, since: float = 1.0) -> None:
    await bench.change("tasks", {"state": "queued"}, run_at=ago(since))


async def test_a_retry_takes_a_turn_of_another_session(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    task = await failed(bench, first)
    assert await claim(bench, [first, second], [0, 1]) == ({task: 1}, 1)


async def test_a_crash_and_a_timeout_are_failures_and_a_release_is_none(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    for kind, place in ((Outcome.CRASHED, 1), (Outcome.TIMED_OUT, 1), (Outcome.RELEASED, 0)):
        task = await failed(bench, first, kind)
        got, _ = await claim(bench, [first, second], [0, 1])
        assert got == {task: place}, kind


async def test_full_turns_are_exchanged_between_tasks(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    task = await failed(bench, first)
    [fresh] = await bench.put(1)
    await bench.change("tasks", {"id": task}, run_at=ago(3))
    assert (await claim(bench, [first, second], [0, 1]))[0] == {task: 1, fresh: 0}


async def test_two_that_failed_each_others_task_change_them(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    one = await failed(bench, first)
    await bench.change("tasks", {"id": one}, run_at=later(1e6))
    other = await failed(bench, second)
    await due_now(bench)
    assert (await claim(bench, [first, second], [0, 1]))[0] == {one: 1, other: 0}


async def test_it_waits_for_the_other_session_that_is_full(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    task = await failed(bench, first)
    assert await claim(bench, [first, second], [0, 0]) == ({}, 0)  # not seen: nothing to hurry for
    assert (await claim(bench, [first, second], [1]))[0] == {task: 1}


async def test_it_does_not_keep_others_from_the_session_that_failed_it(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    task = await failed(bench, first)
    fresh = await bench.put(1)
    assert (await claim(bench, [first, second], [0]))[0] == {fresh[0]: 0}
    assert (await bench.task(task))["state"] == "queued"


async def test_it_is_taken_by_the_same_session_when_no_other_serves_it(bench: Bench) -> None:
    first = await bench.session("w1")
    task = await failed(bench, first)
    stranger = WorkerInfo(id="w2", name="w2", slots=1, handlers=[HandlerInfo(name="other")])
    await bench.dispatch.open_session(stranger, secret_hash=b"s", coordinator_id="c1", lease=LEASE)
    paused = await bench.session("w3")
    await bench.tasks.set_worker("w3", paused=True)
    assert paused.id
    assert (await claim(bench, [first], [0]))[0] == {task: 0}


async def test_another_session_at_another_coordinator_is_waited_for(bench: Bench) -> None:
    first = await bench.session("w1")
    await bench.session("w2", coordinator="c2")
    await failed(bench, first)
    assert (await claim(bench, [first], [0]))[0] == {}


async def test_after_ten_seconds_anybody_may_have_it(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    task = await failed(bench, first)
    await due_now(bench, since=11.0)
    assert (await claim(bench, [first, second], [0]))[0] == {task: 0}


async def test_more_retries_than_turns_of_others_leave_the_rest(bench: Bench) -> None:
    first, second = await bench.session("w1"), await bench.session("w2")
    tasks = [await failed(bench, first)]
    await bench.change("tasks", run_at=later(1e6))
    tasks.append(await failed(bench, first))
    await due_now(bench)
    got, _ = await claim(bench, [first, second], [0, 0, 1])
    assert list(got.values()) == [1]
    assert set(got) < set(tasks)
