"""Workflows in the database: stored whole, once a key, shown with their progress, cancelled whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.model.columns import Outcome
from actors.model.errors import BadValue, IdempotencyConflict, NotFound
from actors.model.workflow import NewWorkflow, Workflow, read_workflow
from storage.store import Store
from tests.support.bench import Bench


def graph(**parents: list[str]) -> NewWorkflow:
    tasks = [{"ref": ref, "name": "demo", "depends_on": mine} for ref, mine in parents.items()]
    made, _ = read_workflow({"name": "night", "tasks": tasks}, datetime.now(UTC), json.dumps)
    assert made is not None
    return made


DIAMOND = graph(a=[], b=["a"], c=["a"], d=["b", "c"])


async def shown(store: Store, number: int) -> Workflow:
    found = await store.workflows.get(number)
    assert found is not None
    return found


async def run(bench: Bench, kind: Outcome = Outcome.SUCCEEDED) -> int:
    """One round of whatever is due; how many."""
    session = await bench.session()
    await bench.claim(session, 100)
    held = await bench.dispatch.held_by(session.id)
    for one in held:
        await bench.end(one, kind)
    while await bench.tasks.resolve(100):
        pass
    return len(held)


async def test_a_diamond_runs_in_its_order(postgres: Bench, store: Store) -> None:
    number, created = await store.workflows.submit(DIAMOND, key=None, request_hash=None)
    assert created
    workflow = await shown(store, number)
    assert (workflow.name, workflow.state, workflow.counts) == ("night", "running", {"queued": 1, "blocked": 3})
    assert [await run(postgres) for _ in range(4)] == [1, 2, 1, 0]
    workflow = await shown(store, number)
    assert (workflow.state, workflow.counts) == ("succeeded", {"succeeded": 4})
    assert workflow.finished_at is not None
    last = await store.tasks.get(dict(zip(workflow.refs, workflow.task_ids, strict=True))["d"])
    assert last is not None
    assert (last.workflow, len(last.depends_on)) == (number, 2)


async def test_a_failure_ends_what_depends_on_it(postgres: Bench, store: Store) -> None:
    number, _ = await store.workflows.submit(graph(a=[], b=["a"], c=["b"], x=[]), key=None, request_hash=None)
    assert await run(postgres, Outcome.FAILED_FINAL) == 2
    workflow = await shown(store, number)
    assert (workflow.state, workflow.counts) == ("failed", {"failed": 2, "cancelled": 2})


async def test_a_key_gives_the_first_one_again(postgres: Bench, store: Store) -> None:
    first, _ = await store.workflows.submit(DIAMOND, key="k", request_hash=b"x")
    assert await store.workflows.submit(DIAMOND, key="k", request_hash=b"x") == (first, False)
    with pytest.raises(IdempotencyConflict, match=f"for workflow {first}"):
        await store.workflows.submit(DIAMOND, key="k", request_hash=b"y")
    assert len(await postgres.rows("tasks")) == 4


async def test_a_cancel_takes_all_that_has_not_ended(postgres: Bench, store: Store) -> None:
    number, _ = await store.workflows.submit(graph(a=[], b=[], c=["a"]), key=None, request_hash=None)
    session = await postgres.session()
    await postgres.claim(session, 1)
    assert await store.workflows.cancel(number) == {"cancelled": 2, "cancelling": 1}
    [held] = await postgres.dispatch.held_by(session.id)
    await postgres.end(held, Outcome.CANCELLED)
    assert (await shown(store, number)).state == "cancelled"
    assert await store.workflows.cancel(number) == {"cancelled": 0, "cancelling": 0}
    with pytest.raises(NotFound):
        await store.workflows.cancel(4711)


async def test_what_can_not_be_stored_leaves_nothing(postgres: Bench, store: Store) -> None:
    bad: Any = graph(a=[], b=["a"])
    bad.tasks[1] = type(bad.tasks[1])(name="demo", args='{"x": "\\u0000"}')
    with pytest.raises(BadValue):
        await store.workflows.submit(bad, key=None, request_hash=None)
    assert await postgres.rows("tasks") == []
    assert await store.workflows.find(limit=10, before_id=None) == []


async def test_ten_thousand_tasks_in_one_transaction(postgres: Bench, store: Store) -> None:
    wide = {f"t{index}": [f"t{index // 10}"] if index else [] for index in range(10_000)}
    number, _ = await store.workflows.submit(graph(**wide), key=None, request_hash=None)
    assert (await shown(store, number)).counts == {"queued": 1, "blocked": 9_999}
    assert await store.workflows.cancel(number) == {"cancelled": 10_000, "cancelling": 0}


async def test_results_go_from_ref_to_ref_also_after_a_retry(postgres: Bench, store: Store) -> None:
    tasks = [
        {"ref": "a", "name": "demo"}, {"ref": "b", "name": "demo"},
        {"ref": "c", "name": "demo", "depends_on": ["a", "b"], "inputs": "from"},
    ]  # fmt: skip
    made, wrong = read_workflow({"tasks": tasks}, datetime.now(UTC), json.dumps)
    assert made is not None, wrong
    number, _ = await store.workflows.submit(made, key=None, request_hash=None)
    workflow = await shown(store, number)
    ids = dict(zip(workflow.refs, workflow.task_ids, strict=True))
    session = await postgres.session()
    await postgres.claim(session, 10)
    for one in await postgres.dispatch.held_by(session.id):
        kind = Outcome.SUCCEEDED if one.task_id == ids["a"] else Outcome.FAILED_FINAL
        await postgres.end(one, kind, one.task_id if kind is Outcome.SUCCEEDED else None)
    await run(postgres)
    again = await postgres.tasks.retry(ids["b"], submitted_by=None, with_children=True)
    await postgres.claim(session, 10)
    for one in await postgres.dispatch.held_by(session.id):
        await postgres.end(one, Outcome.SUCCEEDED, one.task_id)
    while await postgres.tasks.resolve(100):
        pass
    [child] = [row for row in await postgres.rows("tasks") if row["retry_of"] == ids["c"]]
    assert (child["state"], json.loads(child["args"])) == ("queued", {"from": {"a": ids["a"], "b": again}})


async def test_what_a_retry_made_good_no_longer_counts_as_failed(postgres: Bench, store: Store) -> None:
    number, _ = await store.workflows.submit(graph(a=[], b=["a"]), key=None, request_hash=None)
    await run(postgres, Outcome.FAILED_FINAL)
    workflow = await shown(store, number)
    assert (workflow.state, workflow.counts) == ("failed", {"failed": 1, "cancelled": 1})
    await postgres.tasks.retry(workflow.task_ids[0], submitted_by=None, with_children=True)
    workflow = await shown(store, number)
    assert (workflow.state, workflow.counts) == ("running", {"queued": 1, "blocked": 1})
    assert [await run(postgres) for _ in range(3)] == [1, 1, 0]
    workflow = await shown(store, number)
    assert (workflow.state, workflow.counts) == ("succeeded", {"succeeded": 2})
