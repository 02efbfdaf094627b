"""Unique keys: who is stored, who gets the task that is there, and who takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from actors.model.columns import Outcome
from actors.model.errors import BadValue, IdempotencyConflict
from actors.model.ports import Submitted
from actors.model.task import NewTask
from storage.store import open_store
from tests.support.bench import Bench


def job(key: str | None = "k", **options: object) -> NewTask:
    return NewTask(name="demo", unique_key=key, **options)  # type: ignore[arg-type]


async def post(bench: Bench, *tasks: NewTask) -> list[Submitted]:
    answers = await bench.tasks.submit_bound(tasks)
    assert all(isinstance(one, Submitted) for one in answers), answers
    return [one for one in answers if isinstance(one, Submitted)]


async def states(bench: Bench, ids: Sequence[int]) -> list[str]:
    return [(await bench.task(one))["state"] for one in ids]


async def test_a_duplicate_gets_the_task_that_is_there(postgres: Bench) -> None:
    [first] = await post(postgres, job())
    [again] = await post(postgres, job())
    assert first.created
    assert (again.id, again.created) == (first.id, False)
    [other] = await post(postgres, job("l"))
    assert other.created
    task = await postgres.tasks.get(first.id)
    assert task is not None
    assert task.unique_key == "k"


async def test_until_finished_the_key_is_taken_by_what_runs_and_retries(postgres: Bench) -> None:
    [first] = await post(postgres, job(max_tries=2))
    session = await postgres.session()
    for kind in (Outcome.FAILED, Outcome.SUCCEEDED):
        assert [one.id for one in await post(postgres, job())] == [first.id]
        assert (await postgres.claim(session)) is not None
        assert [one.id for one in await post(postgres, job())] == [first.id]
        [held] = await postgres.dispatch.held_by(session.id)
        await postgres.end(held, kind)
        await postgres.idle_backoffs()
    [second] = await post(postgres, job())
    assert second.created


async def test_until_started_the_key_is_free_once_a_worker_has_it(postgres: Bench) -> None:
    [first] = await post(postgres, job(unique_until="started"))
    assert not (await post(postgres, job(unique_until="started")))[0].created
    assert (await postgres.claim(await postgres.session())) is not None
    [second] = await post(postgres, job(unique_until="started"))
    assert second.created
    assert await states(postgres, [first.id, second.id]) == ["assigned", "queued"]


async def test_for_a_period_the_key_is_taken_whatever_becomes_of_the_task(postgres: Bench) -> None:
    [first] = await post(postgres, job(unique_until=3600.0))
    await postgres.tasks.cancel(first.id)
    assert not (await post(postgres, job()))[0].created
    await postgres.database.execute("UPDATE callboard_unique_keys SET expires_at = clock_timestamp() - interval '1 ms'")
    assert (await post(postgres, job()))[0].created


async def test_the_latest_takes_the_place_of_one_that_waits(postgres: Bench) -> None:
    [first] = await post(postgres, job())
    [second] = await post(postgres, job(on_duplicate="replace", args='{"n": 2}'))
    assert second.created
    assert await states(postgres, [first.id, second.id]) == ["cancelled", "queued"]
    gone = await postgres.tasks.get(first.id)
    assert gone is not None
    assert gone.error is not None
    assert (gone.error["type"], gone.error["message"]) == ("Replaced", f"task {second.id} took its place")
    assert [one.id for one in await post(postgres, job())] == [second.id]


async def test_what_runs_goes_on_and_one_waits_behind_it(postgres: Bench) -> None:
    [first] = await post(postgres, job())
    assert (await postgres.claim(await postgres.session())) is not None
    ids = [(await post(postgres, job(on_duplicate="replace")))[0].id for _ in range(3)]
    assert await states(postgres, [first.id, *ids]) == ["assigned", "cancelled", "cancelled", "queued"]


async def test_within_a_batch_the_first_or_the_last_is_stored(postgres: Bench) -> None:
    answers = await post(postgres, job(), job("l"), job(), job(None))
    assert [one.created for one in answers] == [True, True, False, True]
    assert answers[2].id == answers[0].id
    answers = await post(postgres, *(job("m", on_duplicate="replace") for _ in range(3)))
    assert await states(postgres, [one.id for one in answers]) == ["cancelled", "cancelled", "queued"]
    assert not (await post(postgres, job("m")))[0].created


async def test_a_repeat_with_an_idempotency_key_is_the_first_answer(postgres: Bench) -> None:
    keyed: dict[str, Any] = {"idempotency_key": "i", "request_hash": b"x", "on_duplicate": "replace"}
    [first] = await post(postgres, job(**keyed))
    [again] = await post(postgres, job(**keyed))
    assert (again.id, again.created) == (first.id, False)
    assert await states(postgres, [first.id]) == ["queued"]
    [refused] = await postgres.tasks.submit_bound([job(idempotency_key="i", request_hash=b"y")])
    assert isinstance(refused, IdempotencyConflict)


async def test_of_many_at_once_one_is_stored(postgres: Bench) -> None:
    found: list[Submitted] = []

    async def one(store: object) -> None:
        found.extend(await post(postgres, job("a"), job("b")))
        found.extend(await post(postgres, job("b"), job("a")))

    async with open_store(postgres.address), trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(one, None)
    assert len({one.id for one in found}) == 2
    assert sum(one.created for one in found) == 2
    assert len(await postgres.rows("tasks")) == 2


async def test_what_the_database_can_not_hold_leaves_nothing(postgres: Bench) -> None:
    with pytest.raises(BadValue):
        await postgres.tasks.submit_bound([job(), job("l", args='{"x": "\\u0000"}')])
    assert await postgres.rows("tasks") == []
    assert await postgres.rows("unique_keys") == []
