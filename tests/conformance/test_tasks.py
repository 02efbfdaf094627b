"""Tasks as clients see them: listings, changes, cancelling, retrying."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import trio

from actors.model.columns import Outcome
from actors.model.errors import Conflict, NotFound
from actors.model.ports import TaskFilter, TaskPatch
from actors.model.task import NewTask, shown_state
from tests.support.bench import Bench, later

NOWHERE = 10**15  # no such task


async def found(bench: Bench, *, limit: int = 100, before_id: int | None = None, **where: Any) -> list[int]:
    return [task.id for task in await bench.tasks.find(TaskFilter(**where), limit=limit, before_id=before_id)]


async def one_in_each_state(bench: Bench) -> dict[str, int]:
    session = await bench.session()
    ids: dict[str, int] = {}
    for state in ("succeeded", "failed"):
        ids[state] = (await bench.held(session)).task_id
        await bench.change("tasks", {"id": ids[state]}, max_tries=1)
    for held, kind in (("succeeded", Outcome.SUCCEEDED), ("failed", Outcome.FAILED)):
        [one] = [one for one in await bench.dispatch.held_by(session.id) if one.task_id == ids[held]]
        await bench.end(one, kind)
    running, cancelling, assigned = [await bench.held(session) for _ in range(3)]
    await bench.dispatch.mark([], [running])
    await bench.tasks.cancel(cancelling.task_id)
    ids |= {"running": running.task_id, "cancelling": cancelling.task_id, "assigned": assigned.task_id}
    [ids["queued"]], [ids["scheduled"]], [ids["retrying"]] = await bench.put(), await bench.put(), await bench.put()
    [ids["cancelled"]], [ids["blocked"]] = await bench.put(), await bench.put(state="blocked")
    await bench.change("tasks", {"id": ids["scheduled"]}, run_at=later(3600))
    await bench.change("tasks", {"id": ids["retrying"]}, run_at=later(3600), tries=1)
    await bench.tasks.cancel(ids["cancelled"])
    return ids


async def test_shown_states_are_what_the_filter_finds(bench: Bench) -> None:
    ids = await one_in_each_state(bench)
    for state, task_id in ids.items():
        assert await found(bench, states=[state]) == [task_id]
        task = await bench.tasks.get(task_id)
        assert task is not None
        assert shown_state(task) == state
    assert await found(bench, states=["failed", "scheduled"]) == sorted([ids["failed"], ids["scheduled"]], reverse=True)
    assert await found(bench) == sorted(ids.values(), reverse=True)


async def test_filters(bench: Bench) -> None:
    [plain] = await bench.put()
    answers = await bench.tasks.submit(
        [NewTask(name="other", queue="q", tags=["x", "y"], metadata={"team": "a", "env": "p"})]
    )
    other = answers[0].id  # type: ignore[union-attr]
    assert await found(bench, name="other") == await found(bench, queue="q") == await found(bench, tag="y") == [other]
    assert await found(bench, queue="default") == [plain]
    assert await found(bench, metadata={"team": "a"}) == [other]
    assert await found(bench, metadata={"team": "b"}) == await found(bench, name="none") == []
    held = await bench.held(await bench.session("w7"))
    assert await found(bench, worker="w7") == [held.task_id]
    task = await bench.tasks.get(other)
    assert task is not None
    assert other not in await found(bench, created_before=task.created_at)
    assert other in await found(bench, created_after=task.created_at - timedelta(milliseconds=1))


async def test_pages_follow_each_other_without_gaps(bench: Bench) -> None:
    ids = await bench.put(25)
    pages, before = [], None
    while page := await found(bench, limit=10, before_id=before):
        pages += page
        before = page[-1]
    assert pages == ids[::-1]


async def test_a_task_that_is_not_there(bench: Bench) -> None:
    assert await bench.tasks.get(NOWHERE) is None
    assert await bench.tasks.attempts(NOWHERE) == []
    assert await bench.tasks.route(NOWHERE) is None
    for call in (
        bench.tasks.cancel(NOWHERE),
        bench.tasks.retry(NOWHERE, submitted_by=None),
        bench.tasks.patch(NOWHERE, TaskPatch(fields=frozenset({"priority"}), priority=1)),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_patch_changes_what_it_names(bench: Bench) -> None:
    [task_id] = await bench.put()
    before = await bench.tasks.get(task_id)
    assert before is not None
    later = before.now + timedelta(hours=1)
    task = await bench.tasks.patch(
        task_id, TaskPatch(fields=frozenset({"run_at", "priority"}), run_at=later, priority=1)
    )
    assert (task.run_at, task.priority, task.queue) == (later, 1, "default")
    task = await bench.tasks.patch(task_id, TaskPatch(fields=frozenset({"run_at"})))
    assert task.run_at <= task.now
    task = await bench.tasks.patch(task_id, TaskPatch(fields=frozenset({"queue"}), queue="images"))
    assert (task.queue, task.name, task.priority) == ("images", "demo", 1)
    assert await bench.tasks.patch(task_id, TaskPatch(fields=frozenset())) is not None


@pytest.mark.parametrize("final", [False, True])
async def test_only_a_waiting_task_can_be_patched(bench: Bench, final: bool) -> None:
    held = await bench.held()
    if final:
        await bench.end(held, Outcome.SUCCEEDED)
    with pytest.raises(Conflict) as refused:
        await bench.tasks.patch(held.task_id, TaskPatch(fields=frozenset({"priority"}), priority=1))
    assert refused.value.state == ("succeeded" if final else "assigned")


async def test_a_cancelled_waiting_task_never_starts(bench: Bench) -> None:
    [task_id] = await bench.put()
    assert [await bench.tasks.cancel(task_id) for _ in range(2)] == ["cancelled"] * 2
    assert await bench.claim(await bench.session()) is None


async def test_a_held_task_is_cancelling_until_its_worker_says_so(bench: Bench) -> None:
    held = await bench.held()
    assert [await bench.tasks.cancel(held.task_id) for _ in range(2)] == ["cancelling"] * 2
    first = (await bench.task(held.task_id))["cancel_requested_at"]
    await bench.tasks.cancel(held.task_id)
    assert (await bench.task(held.task_id))["cancel_requested_at"] == first
    await bench.end(held, Outcome.CANCELLED)
    assert await bench.tasks.cancel(held.task_id) == "cancelled"


async def test_a_finished_task_can_t_be_cancelled(bench: Bench) -> None:
    held = await bench.held()
    await bench.end(held, Outcome.SUCCEEDED)
    with pytest.raises(Conflict) as refused:
        await bench.tasks.cancel(held.task_id)
    assert refused.value.state == "succeeded"


async def test_a_retry_is_a_new_task(bench: Bench) -> None:
    held = await bench.held(args='{"n": 1}', priority=3, tags=["x"], max_tries=1)
    with pytest.raises(Conflict):
        await bench.tasks.retry(held.task_id, submitted_by=None)
    await bench.end(held, Outcome.FAILED)
    new = await bench.tasks.get(await bench.tasks.retry(held.task_id, submitted_by="me"))
    assert new is not None
    assert (new.retry_of, new.state, new.args, new.priority, list(new.tags)) == (
        held.task_id, "queued", {"n": 1}, 3, ["x"],
    )  # fmt: skip
    assert (new.attempt, new.tries, new.submitted_by) == (0, 0, "me")
    with pytest.raises(Conflict, match=str(new.id)):
        await bench.tasks.retry(held.task_id, submitted_by=None)
    await bench.tasks.cancel(new.id)
    assert await bench.tasks.retry(held.task_id, submitted_by=None) > new.id


async def test_two_retries_at_once_make_one_task(bench: Bench) -> None:
    held = await bench.held()
    await bench.end(held, Outcome.FAILED_FINAL)
    made: list[object] = []

    async def retry() -> None:
        try:
            made.append(await bench.tasks.retry(held.task_id, submitted_by=None))
        except Conflict as error:
            made.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(retry)
    assert sum(isinstance(one, int) for one in made) == 1


async def test_attempts_tell_what_happened(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await bench.end(held, Outcome.FAILED, {"type": "E", "message": "m", "traceback": "t", "evidence": {"a": 1}})
    await bench.end(held, Outcome.SUCCEEDED)  # contradicts itself
    first, second = await bench.tasks.attempts(held.task_id)
    assert (first.outcome, first.accepted, first.worker, first.evidence) == ("failed", True, "w1", {"a": 1})
    assert first.error == {"type": "E", "message": "m", "traceback": "t"}
    assert (second.outcome, second.accepted, second.worker) == ("succeeded", False, "w1")


async def test_those_that_wait_learn_what_is_final(bench: Bench) -> None:
    held = await bench.held()
    [waiting] = await bench.put()
    await bench.end(held, Outcome.SUCCEEDED)
    assert await bench.tasks.final_among([held.task_id, waiting, NOWHERE]) == {held.task_id, NOWHERE}
    assert await bench.tasks.final_among([]) == set()


async def test_the_route_follows_the_present_attempt(bench: Bench) -> None:
    held = await bench.held()
    route = await bench.tasks.route(held.task_id)
    assert route is not None
    assert (route.state, route.attempt, route.started, route.key) == ("assigned", 1, False, b"secret")
    await bench.dispatch.mark([], [held])
    route = await bench.tasks.route(held.task_id)
    assert route is not None
    assert route.started
    await bench.end(held, Outcome.SUCCEEDED)
    route = await bench.tasks.route(held.task_id)
    assert route is not None
    assert (route.state, route.key) == ("succeeded", None)


async def test_the_hash_of_a_key_is_known_after_its_use(bench: Bench) -> None:
    assert await bench.tasks.key_hash("k") is None
    await bench.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"1")])
    assert await bench.tasks.key_hash("k") == b"1"
