"""callboard_submit: a task that is there with the caller's commit, and judged as strictly as by the API."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import trio
from asyncpg import exceptions as pg

from actors.model.ports import Submitted, TaskFilter
from actors.model.retry import Backoff
from actors.model.submission import TASK
from actors.model.task import NewTask
from storage.store import Store
from storage.url import parse_url
from tests.support.bench import NOW, Bench, Database


async def submit(database: Database, arguments: str) -> int:
    return int(await database.value(f"SELECT callboard_submit({arguments})"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("NULL", "name must have 1 to 200 characters without spaces"),
        ("'a b'", "got 'a b'"),
        ("'job', '[]'", "args must be a JSON object, not array"),
        ("'job', NULL", "args must be a JSON object, not NULL"),
        ("'job', jsonb_build_object('x', repeat('x', 300000))", "at most 262144 (256 KiB) are kept"),
        ("'job', queue => 'a b'", "queue must have"),
        ("'job', priority => 5", "priority must be from 1 to 4, got 5"),
        ("'job', priority => NULL", "priority must be from 1 to 4"),
        ("'job', delay => -1", "delay must be from 0"),
        ("'job', delay => 'NaN'", "delay must be from 0"),
        ("'job', delay => 1, run_at => now()", "delay and run_at exclude each other"),
        ("'job', run_at => '2001-01-01Z'", "run_at 2001"),
        ("'job', expires_at => '2001-01-01Z'", "expires_at must be after run_at"),
        ("'job', timeout => 0", "timeout must be from"),
        ("'job', max_tries => 0", "max_tries must be from 1 to 1000, got 0"),
        ("'job', backoff => '\"x\"'", "backoff must be a number of seconds"),
        ("'job', backoff => '{\"base\": 10, \"cap\": 1}'", "cap from base"),
        ("'job', backoff => '{\"bass\": 10}'", "an object of kind, base, cap and jitter"),
        ("'job', tags => ARRAY['']", "tags must be at most 32"),
        ("'job', metadata => '{\"x\": 1}'", "metadata must have at most 64 entries"),
        ("'job', requirements => '[]'", "requirements must be a JSON object, not array"),
        ("'job', concurrency_key => ''", "concurrency_key must have 1 to 200 characters, got 0"),
        ("'job', weight => 0", "weight must be from 1 to 1000, got 0"),
        ("'job', unique_key => ''", "unique_key must have 1 to 200 characters, got 0"),
        ("'job', unique_until => 'started'", "unique_until means something beside unique_key only"),
        ("'job', on_duplicate => 'replace'", "on_duplicate means something beside unique_key only"),
        (
            "'job', unique_key => 'u', unique_until => 'soon'",
            "seconds from above 0 to 315619200, got 'soon'",
        ),
        ("'job', unique_key => 'u', unique_until => '0'", "unique_until must be started, finished or a number"),
        ("'job', unique_key => 'u', unique_until => 'NaN'", "unique_until must be started, finished or a number"),
        ("'job', unique_key => 'u', on_duplicate => 'keep'", "on_duplicate must be existing or replace, got 'keep'"),
        ("'job', on_parent_failure => 'run'", "on_parent_failure means something beside depends_on only"),
        ("'job', inputs => 'x'", "inputs means something beside depends_on only"),
        ("'job', depends_on => '{7}'", "depends_on task 7 does not exist, or was pruned"),
        ("'job', depends_on => '{NULL}'", "depends_on task NULL does not exist"),
        ("'job', idempotency_key => 'a b'", "idempotency_key must have 1 to 255 printable"),
    ],
)
async def test_a_wrong_value_is_refused_by_name(bench: Bench, arguments: str, words: str) -> None:
    with pytest.raises(pg.InvalidParameterValueError) as refused:
        await submit(bench.database, arguments)
    assert words in str(refused.value)
    assert await bench.rows("tasks") == []


async def test_a_task_is_there_with_the_commit_whatever_path_the_caller_has(
    database_url: str, bench: Bench, store: Store
) -> None:
    schema = parse_url(database_url).schema
    await bench.database.execute("SET search_path TO pg_temp")
    await bench.database.execute("BEGIN")
    await bench.database.value(f"SELECT {schema}.callboard_submit('demo')")
    await bench.database.execute("ROLLBACK")
    task = await bench.database.value(
        f"SELECT {schema}.callboard_submit('demo', '{{\"x\": 1}}', queue => 'q', priority => 1, tags => ARRAY['t'],"
        " metadata => '{\"k\": \"v\"}', max_tries => 2, backoff => '5', concurrency_key => 'c', timeout => 3,"
        ' requirements => \'{"gpu": "a100"}\')'
    )
    [found] = await store.tasks.find(TaskFilter(), limit=10, before_id=None)
    assert (found.id, found.name, found.queue, found.args, found.priority) == (task, "demo", "q", {"x": 1}, 1)
    assert (found.tags, found.metadata, found.max_tries, found.timeout) == (["t"], {"k": "v"}, 2, 3.0)
    assert (found.concurrency_key, found.requirements) == ("c", {"gpu": "a100"})
    row = await bench.database.row(f"SELECT backoff::text, lane_id FROM {schema}.callboard_tasks")
    assert json.loads(row["backoff"]) == Backoff.from_json(5).as_json()
    same = NewTask(name="demo", queue="q", concurrency_key="d", requirements={"gpu": "a100"})
    [posted] = await store.tasks.submit([same])
    assert isinstance(posted, Submitted)
    lanes = await bench.database.fetch(f"SELECT DISTINCT lane_id FROM {schema}.callboard_tasks")
    assert [one["lane_id"] for one in lanes] == [row["lane_id"]]


async def test_listeners_hear_of_a_task_with_the_commit(bench: Bench, store: Store) -> None:
    hints = store.notifier.subscribe("due")
    async with trio.open_nursery() as nursery:
        await nursery.start(store.notifier.run)
        with trio.fail_after(10):
            while not store.notifier.connected:
                await trio.sleep(0.01)
            drain(hints)
            await submit(bench.database, "'demo'")
            await hints.receive()
        nursery.cancel_scope.cancel("heard")


def drain(hints: trio.MemoryReceiveChannel[None]) -> None:
    with suppress(trio.WouldBlock):
        while True:
            hints.receive_nowait()


async def test_an_idempotency_key_gives_the_first_task_again(bench: Bench) -> None:
    first = await submit(bench.database, "'demo', '{\"x\": 1}', idempotency_key => 'k'")
    assert await submit(bench.database, "'demo', '{\"x\": 1}', idempotency_key => 'k'") == first
    with pytest.raises(pg.InvalidParameterValueError, match=f"'k' was used for another task, {first}"):
        await submit(bench.database, "'demo', '{\"x\": 2}', idempotency_key => 'k'")
    assert len(await bench.rows("tasks")) == 1


async def test_every_field_of_a_submission_has_its_parameter(bench: Bench) -> None:
    names = await bench.database.value("SELECT proargnames FROM pg_proc WHERE proname = 'callboard_submit' LIMIT 1")
    assert set(TASK) | {"idempotency_key", "submitted_by"} == set(names)


async def test_a_unique_key_gives_its_holder_or_takes_its_place(bench: Bench) -> None:
    first = await submit(bench.database, "'demo', unique_key => 'k'")
    assert await submit(bench.database, "'demo', unique_key => 'k', idempotency_key => 'i'") == first
    assert await submit(bench.database, "'demo', unique_key => 'k', idempotency_key => 'i'") == first
    later = await submit(bench.database, "'demo', unique_key => 'k', on_duplicate => 'replace', unique_until => '60'")
    states = {row["id"]: row["state"] for row in await bench.rows("tasks")}
    assert states == {first: "cancelled", later: "queued"}
    assert await submit(bench.database, "'demo', unique_key => 'k'") == later


async def test_two_transactions_cannot_both_have_a_unique_key(bench: Bench, database_url: str) -> None:
    await bench.database.execute("BEGIN")
    first = await submit(bench.database, "'demo', unique_key => 'k'")
    second: list[int] = []
    other = Database(parse_url(database_url))
    await other.open()

    async def post() -> None:
        second.append(await submit(other, "'demo', unique_key => 'k'"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post)
        with trio.fail_after(10):
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not await bench.database.value(waits):
                await trio.sleep(0.01)
        await bench.database.execute("COMMIT")
    other.close()
    assert second == [first]


async def test_a_child_waits_for_its_parents_and_is_told_of_those_that_failed(bench: Bench, store: Store) -> None:
    parent = await submit(bench.database, "'demo'")
    child = await submit(bench.database, f"'demo', depends_on => '{{{parent},{parent}}}'")
    await bench.database.value(f"SELECT callboard_cancel({parent})")
    late = await submit(bench.database, f"'demo', depends_on => '{{{parent}}}'")
    anyway = await submit(bench.database, f"'demo', depends_on => '{{{parent}}}', on_parent_failure => 'run'")
    states = {row["id"]: row["state"] for row in await bench.rows("tasks")}
    assert states == {parent: "cancelled", child: "blocked", late: "blocked", anyway: "queued"}
    assert await store.tasks.resolve(100)
    states = {row["id"]: row["state"] for row in await bench.rows("tasks")}
    assert states == {parent: "cancelled", child: "cancelled", late: "cancelled", anyway: "queued"}


async def test_results_of_parents_that_have_ended_are_an_argument_at_once(bench: Bench) -> None:
    [parent] = await bench.put(1, state="succeeded", finished_at=NOW, result='{"x": 1}')
    child = await submit(bench.database, f"'demo', depends_on => '{{{parent}}}', inputs => 'found'")
    row = await bench.task(child)
    assert (row["state"], json.loads(row["args"])) == ("queued", {"found": {str(parent): {"x": 1}}})
