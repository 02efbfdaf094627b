"""Many tasks at once in PostgreSQL: what was done to how many, and what is left alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import trio

from actors.model.bulk import Selection
from actors.model.columns import Outcome
from actors.model.ports import TaskFilter
from storage.store import Store
from tests.support.bench import NOW, Bench


async def states(bench: Bench) -> Counter[str]:
    return Counter(row["state"] for row in await bench.rows("tasks"))


async def test_ids_are_cancelled_and_the_rest_is_told(postgres: Bench, store: Store) -> None:
    session = await postgres.session()
    out = await postgres.put(1)
    assert (await postgres.claim(session, 1)) is not None
    waiting = await postgres.put(3)
    final = await postgres.put(2, state="failed", finished_at=NOW)
    selection: dict[str, Any] = {"ids": [*out, *waiting, *final, 10**9, waiting[0]]}
    counted = await store.bulk.cancel_many(Selection(**selection, dry_run=True))
    assert (counted.matched, counted.done, counted.skipped) == (
        4, {"cancelled": 0, "cancelling": 0}, {"missing": 1, "final": 2},
    )  # fmt: skip
    assert (await states(postgres))["cancelled"] == 0
    done = await store.bulk.cancel_many(Selection(**selection))
    assert (done.matched, done.done, done.skipped) == (
        4, {"cancelled": 3, "cancelling": 1}, {"missing": 1, "final": 2},
    )  # fmt: skip
    assert await states(postgres) == {"assigned": 1, "cancelled": 3, "failed": 2}
    assert (await postgres.task(out[0]))["cancel_requested_at"] is not None


async def test_a_filter_takes_the_oldest_up_to_the_limit(postgres: Bench, store: Store) -> None:
    ids = await postgres.put(2_500, tags=["night"])
    others = await postgres.put(10)
    night = TaskFilter(tag="night")
    first = await store.bulk.cancel_many(Selection(where=night, limit=2_000))
    assert (first.matched, first.done["cancelled"], first.more) == (2_000, 2_000, True)
    assert {row["id"] for row in await postgres.rows("tasks", state="queued")} == {*ids[2_000:], *others}
    second = await store.bulk.cancel_many(Selection(where=night, limit=2_000))
    assert (second.done["cancelled"], second.more) == (500, False)
    assert (await store.bulk.cancel_many(Selection(where=night))).matched == 0
    queued = await store.bulk.cancel_many(Selection(where=TaskFilter(states=("queued",), name="demo")))
    assert queued.done["cancelled"] == 10


async def test_what_failed_is_retried_once(postgres: Bench, store: Store) -> None:
    failed = await postgres.put(1_200, state="failed", finished_at=NOW)
    await postgres.put(5, state="succeeded", finished_at=NOW)
    await postgres.put(5, state="cancelled", finished_at=NOW)
    await postgres.put(5)
    everything = TaskFilter(name="demo")
    counted = await store.bulk.retry_many(Selection(where=everything, dry_run=True), submitted_by=None)
    assert (counted.matched, counted.done) == (1_200, {"retried": 0})
    done = await store.bulk.retry_many(Selection(where=everything), submitted_by="ann")
    assert (done.done, done.skipped) == ({"retried": 1_200}, {})
    retries = [row for row in await postgres.rows("tasks") if row["retry_of"]]
    assert {row["retry_of"] for row in retries} == set(failed)
    assert {(row["state"], row["submitted_by"]) for row in retries} == {("queued", "ann")}
    assert (await store.bulk.retry_many(Selection(where=everything), submitted_by=None)).matched == 0
    again = await store.bulk.retry_many(Selection(ids=failed[:3]), submitted_by=None)
    assert (again.matched, again.done, again.skipped) == (3, {"retried": 0}, {"retried": 3})


async def test_two_at_once_post_each_once(postgres: Bench, store: Store) -> None:
    failed = await postgres.put(300, state="failed", finished_at=NOW)

    async def retry() -> None:
        await store.bulk.retry_many(Selection(ids=failed), submitted_by=None)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(retry)
    retries = [row["retry_of"] for row in await postgres.rows("tasks") if row["retry_of"]]
    assert sorted(retries) == failed


async def test_a_retried_child_does_not_wait_again(postgres: Bench, store: Store) -> None:
    from tests.conformance.test_dependencies import child, resolve

    [parent] = await postgres.put(1)
    one = await child(postgres, parent)
    session = await postgres.session()
    assert (await postgres.claim(session, 1)) is not None
    [held] = await postgres.dispatch.held_by(session.id)
    await postgres.end(held, Outcome.FAILED_FINAL)
    await resolve(postgres)
    done = await store.bulk.retry_many(Selection(where=TaskFilter(states=("cancelled",))), submitted_by=None)
    assert done.done == {"retried": 1}
    [again] = [row for row in await postgres.rows("tasks") if row["retry_of"] == one]
    assert (again["state"], again["parents"], again["parents_left"]) == ("queued", 1, 0)


async def test_a_workflow_s_parent_that_is_cancelled_tells_its_children(postgres: Bench, store: Store) -> None:
    from tests.conformance.test_dependencies import child, resolve

    [parent] = await postgres.put(1)
    one = await child(postgres, parent)
    await store.bulk.cancel_many(Selection(ids=[parent]))
    await resolve(postgres)
    assert (await postgres.task(one))["state"] == "cancelled"
