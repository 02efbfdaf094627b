"""Tasks that wait for others: what sets them free, what ends them, and that nothing leaves them waiting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from actors.model.columns import Outcome
from actors.model.errors import BadValue
from actors.model.ports import Submitted
from actors.model.task import NewTask
from actors.model.worker import Held, Session
from tests.support.bench import Bench, ago


async def child(bench: Bench, *parents: int, policy: str = "cancel", **options: object) -> int:
    task = NewTask(name="demo", depends_on=parents, on_parent_failure=policy, **options)  # type: ignore[arg-type]
    [answer] = await bench.tasks.submit_bound([task])
    assert isinstance(answer, Submitted)
    return answer.id


async def state(bench: Bench, task: int) -> str:
    return str((await bench.task(task))["state"])


async def finish(bench: Bench, *tasks: int, kind: Outcome = Outcome.SUCCEEDED) -> None:
    """These are claimed, whatever else is due, and end."""
    session = await bench.session()
    claimed = await bench.claim(session, 100)
    assert claimed is not None
    for held in await bench.dispatch.held_by(session.id):
        await bench.end(held, kind if held.task_id in tasks else Outcome.RELEASED)


async def resolve(bench: Bench, batch: int = 2_000) -> int:
    rounds = 0
    while await bench.tasks.resolve(batch):
        rounds += 1
    assert await bench.rows("finished_parents") == []
    return rounds


async def test_a_child_waits_for_all_its_parents(postgres: Bench) -> None:
    one, other = await postgres.put(2)
    task = await child(postgres, one, other)
    assert await state(postgres, task) == "blocked"
    shown = await postgres.tasks.get(task)
    assert shown is not None
    assert shown.depends_on == [one, other]
    await finish(postgres, one)
    await resolve(postgres)
    assert await state(postgres, task) == "blocked"
    await finish(postgres, other)
    await resolve(postgres)
    row = await postgres.task(task)
    assert (row["state"], row["parents_left"]) == ("queued", 0)
    assert await postgres.seconds_until(row["run_at"]) < 0
    await finish(postgres, task)
    assert await state(postgres, task) == "succeeded"


@pytest.mark.parametrize(("policy", "wanted"), [("cancel", "cancelled"), ("run", "queued")])
async def test_a_failed_parent_ends_its_children_or_sets_them_free(postgres: Bench, policy: str, wanted: str) -> None:
    [parent] = await postgres.put(1, max_tries=1)
    before = await child(postgres, parent, policy=policy)
    grandchild = await child(postgres, before)
    await finish(postgres, parent, kind=Outcome.FAILED)
    after = await child(postgres, parent, policy=policy)
    await resolve(postgres)
    assert [await state(postgres, before), await state(postgres, after)] == [wanted, wanted]
    assert await state(postgres, grandchild) == ("cancelled" if policy == "cancel" else "blocked")
    if policy == "cancel":
        shown = await postgres.tasks.get(before)
        assert shown is not None
        assert shown.error is not None
        assert (shown.error["type"], shown.error["message"]) == ("ParentFailed", f"task {parent} (demo) failed")


async def test_a_parent_that_succeeded_before_holds_nobody_up(postgres: Bench) -> None:
    [parent] = await postgres.put(1)
    await finish(postgres, parent)
    assert await state(postgres, await child(postgres, parent)) == "queued"


async def test_a_parent_that_is_retried_has_not_ended(postgres: Bench) -> None:
    [parent] = await postgres.put(1, max_tries=2)
    task = await child(postgres, parent)
    await finish(postgres, parent, kind=Outcome.FAILED)
    await resolve(postgres)
    assert await state(postgres, task) == "blocked"


async def test_a_cancel_cascades(postgres: Bench) -> None:
    [parent] = await postgres.put(1)
    chain = [parent]
    for _ in range(4):
        chain.append(await child(postgres, chain[-1]))
    assert await postgres.tasks.cancel(chain[1]) == "cancelled"
    await resolve(postgres)
    assert [await state(postgres, one) for one in chain] == ["queued", *["cancelled"] * 4]


async def test_whoever_ends_a_parent_its_children_are_told(postgres: Bench) -> None:
    """By hand, by its worker's death, and because its time was over."""
    by_hand, lost, late = await postgres.put(3, retry_on_crash=False)
    children = [await child(postgres, one) for one in (by_hand, lost, late)]
    await postgres.change("tasks", {"id": by_hand}, state="cancelled", finished_at=ago(0))
    await postgres.change("tasks", {"id": late}, expires_at=ago(1))
    session = await postgres.session()
    assert (await postgres.claim(session)) is not None
    await postgres.dispatch.mark(await postgres.dispatch.held_by(session.id), [])
    await postgres.tasks.prune(100)
    await postgres.database.execute("UPDATE callboard_workers SET state = 'dead', ended_at = now()")
    await postgres.dispatch.sweep(100, "c1", lease=None)
    await resolve(postgres)
    assert [await state(postgres, one) for one in children] == ["cancelled"] * 3


async def test_a_child_that_waits_too_long_expires(postgres: Bench) -> None:
    [parent] = await postgres.put(1)
    task = await child(postgres, parent)
    await postgres.change("tasks", {"id": task}, expires_at=ago(1))
    await postgres.tasks.prune(100)
    assert await state(postgres, task) == "expired"
    await finish(postgres, parent)
    await resolve(postgres)
    assert await state(postgres, task) == "expired"


async def test_a_parent_that_is_not_there_is_named_and_nothing_is_stored(postgres: Bench) -> None:
    [parent] = await postgres.put(1)
    bound = NewTask(name="demo", depends_on=[parent, 4711])
    with pytest.raises(BadValue) as refused:
        await postgres.tasks.submit_bound([bound])
    assert refused.value.field == "depends_on[1]"
    assert "task 4711 does not exist" in refused.value.detail
    with pytest.raises(BadValue) as refused:
        await postgres.tasks.submit_bound([NewTask(name="demo"), bound])
    assert refused.value.field == "[1].depends_on[1]"
    assert len(await postgres.rows("tasks")) == 1


async def test_a_thousand_children_are_told_in_bounded_steps(postgres: Bench) -> None:
    [parent] = await postgres.put(1)
    await postgres.tasks.submit_bound([NewTask(name="demo", depends_on=[parent]) for _ in range(1_000)])
    await finish(postgres, parent)
    assert await resolve(postgres, 300) == 5  # and one that finds nobody left
    rows = await postgres.database.fetch("SELECT state, count(*) AS count FROM callboard_tasks GROUP BY 1")
    assert {row["state"]: row["count"] for row in rows} == {"queued": 1_000, "succeeded": 1}


async def test_a_parent_is_kept_while_somebody_may_ask_for_its_result(postgres: Bench) -> None:
    [parent, other] = await postgres.put(2)
    await finish(postgres, parent)
    task = await child(postgres, parent, other)
    assert await postgres.database.value("SELECT callboard_is_needed($1)", parent)
    await postgres.tasks.cancel(task)
    assert not await postgres.database.value("SELECT callboard_is_needed($1)", parent)


async def test_parents_that_end_while_their_child_is_stored_are_not_missed(postgres: Bench) -> None:
    parents = await postgres.put(40)
    session = await postgres.session()
    assert (await postgres.claim(session, 40)) is not None
    children: list[int] = []

    async def end(which: Sequence[object]) -> None:
        for held in await postgres.dispatch.held_by(session.id):
            await postgres.end(held, Outcome.SUCCEEDED)

    async def submit() -> None:
        for start in range(40):
            children.append(await child(postgres, *parents[start : start + 5]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end, [])
        nursery.start_soon(submit)
        nursery.start_soon(submit)
    await resolve(postgres)
    assert {await state(postgres, one) for one in children} == {"queued"}


async def test_children_of_parents_that_end_at_once_are_counted_right_by_several(postgres: Bench) -> None:
    parents = await postgres.put(30)
    children = [await child(postgres, *parents) for _ in range(10)]
    await finish(postgres, *parents)

    async def some() -> None:
        while await postgres.tasks.resolve(7):
            pass

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(some)
    await resolve(postgres)
    assert {await state(postgres, one) for one in children} == {"queued"}


async def test_a_retry_revives_what_was_cancelled_with_it(postgres: Bench) -> None:
    """a failed; b and c hung on it, d on both and on x, which succeeded; e on another failure as well."""
    a, x, y = await postgres.put(3, max_tries=1)
    b, c = await child(postgres, a), await child(postgres, a)
    d = await child(postgres, b, c, x)
    e = await child(postgres, a, y)
    await finish(postgres, x)
    await finish(postgres, kind=Outcome.RELEASED)
    session = await postgres.session()
    await postgres.claim(session)
    for held in await postgres.dispatch.held_by(session.id):
        await postgres.end(held, Outcome.FAILED)
    await resolve(postgres)
    assert [await state(postgres, one) for one in (b, c, d, e)] == ["cancelled"] * 4
    again = await postgres.tasks.retry(a, submitted_by=None, with_children=True)
    await resolve(postgres)
    rows = {row["retry_of"]: row for row in await postgres.rows("tasks") if row["retry_of"] is not None}
    assert {task: row["state"] for task, row in rows.items()} == {
        a: "queued", b: "blocked", c: "blocked", d: "blocked", e: "cancelled",
    }  # fmt: skip
    assert rows[a]["id"] == again
    assert rows[d]["parents_left"] == 2
    for _ in range(3):
        session = await postgres.session()
        await postgres.claim(session)
        for held in await postgres.dispatch.held_by(session.id):
            await postgres.end(held, Outcome.SUCCEEDED)
        await resolve(postgres)
    assert [await state(postgres, rows[one]["id"]) for one in (a, b, c, d)] == ["succeeded"] * 4


async def test_a_retry_without_them_leaves_them_cancelled(postgres: Bench) -> None:
    [parent] = await postgres.put(1, max_tries=1)
    await child(postgres, parent)
    await finish(postgres, parent, kind=Outcome.FAILED)
    await resolve(postgres)
    await postgres.tasks.retry(parent, submitted_by=None)
    assert [row["state"] for row in await postgres.rows("tasks")] == ["failed", "cancelled", "queued"]


async def test_results_of_parents_are_an_argument(postgres: Bench) -> None:
    good, bad = await postgres.put(2)
    bound: dict[str, Any] = {"depends_on": [good, bad], "on_parent_failure": "run", "inputs": "found"}
    [waits] = await post_bound(postgres, args='{"a": 1}', **bound)
    session = await postgres.session()
    held = {one.task_id: one for one in await take(postgres, session)}
    await postgres.end(held[good], Outcome.SUCCEEDED, {"x": [1, 2]})
    await postgres.end(held[bad], Outcome.FAILED_FINAL)
    await resolve(postgres)
    args = json.loads((await postgres.task(waits))["args"])
    assert args == {"a": 1, "found": {str(good): {"x": [1, 2]}, str(bad): None}}
    [later] = await post_bound(postgres, depends_on=[good], inputs="found")
    assert json.loads((await postgres.task(later))["args"]) == {"found": {str(good): {"x": [1, 2]}}}


async def test_results_that_are_too_large_together_end_the_child_with_a_word(postgres: Bench) -> None:
    parents = await postgres.put(2)
    [waits] = await post_bound(postgres, depends_on=parents, inputs="found")
    session = await postgres.session()
    for one in await take(postgres, session):
        await postgres.end(one, Outcome.SUCCEEDED, "x" * 200_000)
    await resolve(postgres)
    row = await postgres.task(waits)
    assert row["state"] == "cancelled"
    assert "at most 262144 (256 KiB) are kept: return references" in json.loads(row["error"])["message"]


async def post_bound(bench: Bench, **options: Any) -> list[int]:
    answers = await bench.tasks.submit_bound([NewTask(name="demo", **options)])
    return [answer.id for answer in answers if not isinstance(answer, Exception)]


async def take(bench: Bench, session: Session) -> list[Held]:
    await bench.claim(session, 100)
    return await bench.dispatch.held_by(session.id)
