"""T0: submissions are stored once, answered in order, and a bad one fails alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import trio

from actors.model.errors import BadValue, IdempotencyConflict
from actors.model.ports import Submitted
from actors.model.task import NewTask
from tests.support.bench import Bench


def ids(answers: list[Submitted | Exception]) -> list[int]:
    assert all(isinstance(answer, Submitted) for answer in answers), answers
    return [answer.id for answer in answers if isinstance(answer, Submitted)]


async def test_every_field_is_kept(bench: Bench) -> None:
    when = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    new = NewTask(
        name="demo",
        args='{"text": "ümlaut 🙂", "n": 1.5}',
        queue="images",
        priority=1,
        run_at=when,
        timeout=2.5,
        max_tries=7,
        backoff={"kind": "fixed", "base": 3},
        expires_at=when + timedelta(days=1),
        exclusive=True,
        retry_on_crash=False,
        tags=["a", 'b "quoted"'],
        metadata={"team": "x"},
        submitted_by="me",
    )
    [task_id] = ids(await bench.tasks.submit([new]))
    task = await bench.tasks.get(task_id)
    assert task is not None
    assert (task.name, task.queue, task.priority, task.state) == ("demo", "images", 1, "queued")
    assert task.args == {"text": "ümlaut 🙂", "n": 1.5}
    assert (task.run_at, task.expires_at) == (when, when + timedelta(days=1))
    assert (task.timeout, task.max_tries, task.exclusive, task.retry_on_crash) == (2.5, 7, True, False)
    assert (list(task.tags), task.metadata, task.submitted_by) == (["a", 'b "quoted"'], {"team": "x"}, "me")
    assert (task.attempt, task.tries, task.crashes, task.worker, task.result) == (0, 0, 0, None, None)


async def test_what_is_not_given_comes_from_the_handler_then_from_defaults(bench: Bench) -> None:
    [task_id] = ids(await bench.tasks.submit([NewTask(name="demo")]))
    task = await bench.tasks.get(task_id)
    assert task is not None
    assert (task.queue, task.max_tries, task.timeout, task.priority) == ("default", 4, None, 2)
    await bench.handler(queue="late", max_tries=9, timeout=5.0)
    task = await bench.tasks.get(task_id)
    assert task is not None
    assert (task.queue, task.max_tries, task.timeout) == ("late", 9, 5.0)


async def test_a_delay_counts_from_the_database_s_clock(bench: Bench) -> None:
    [task_id] = ids(await bench.tasks.submit([NewTask(name="demo", delay=100)]))
    task = await bench.tasks.get(task_id)
    assert task is not None
    assert 95 < (task.run_at - task.now).total_seconds() <= 100


async def test_a_key_with_the_same_body_answers_the_first_task(bench: Bench) -> None:
    new = NewTask(name="demo", idempotency_key="k", request_hash=b"1")
    [first] = await bench.tasks.submit([new])
    assert isinstance(first, Submitted)
    assert first.created
    assert await bench.tasks.submit([new]) == [Submitted(first.id, False)]
    assert len(await bench.rows("tasks")) == 1


async def test_a_key_with_another_body_is_refused_and_stores_nothing(bench: Bench) -> None:
    await bench.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"1")])
    [answer] = await bench.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"2")])
    assert isinstance(answer, IdempotencyConflict)
    assert len(await bench.rows("tasks")) == 1


async def test_the_same_key_twice_in_one_group(bench: Bench) -> None:
    one = NewTask(name="demo", idempotency_key="k", request_hash=b"1")
    other = NewTask(name="demo", idempotency_key="k", request_hash=b"2")
    first, again, refused = await bench.tasks.submit([one, one, other])
    assert isinstance(first, Submitted)
    assert again == Submitted(first.id, False)
    assert isinstance(refused, IdempotencyConflict)


@pytest.mark.bad_input("HT28")
async def test_the_same_key_at_once_is_stored_once(bench: Bench) -> None:
    answers: list[Submitted | Exception] = []

    async def submit() -> None:
        answers.extend(await bench.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"1")]))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(submit)
    assert len(set(ids(answers))) == 1
    assert sum(answer.created for answer in answers if isinstance(answer, Submitted)) == 1
    assert len(await bench.rows("tasks")) == 1


async def test_a_key_waits_for_the_transaction_that_has_it(postgres: Bench) -> None:
    """The other one rolls back: then the task is ours."""
    await postgres.database.execute("BEGIN")
    await postgres.database.execute("INSERT INTO callboard_idempotency_keys VALUES ('k', '\\x31', 99)")
    answers: list[Submitted | Exception] = []

    async def submit() -> None:
        answers.extend(await postgres.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"1")]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.sleep(0.1)
        assert answers == []
        await postgres.database.execute("ROLLBACK")
    assert ids(answers) != [99]


BAD = [
    NewTask(name="demo", args='{"x": "\\u0000"}'),
    NewTask(name="demo", args='{"x": "\\ud800"}'),
    NewTask(name="demo", args='{"x": 1e999999}'),
    NewTask(name="demo", args="{"),
    NewTask(name="demo", args="[" * 100_000 + "]" * 100_000),
    NewTask(name="de\x00mo"),
    NewTask(name="de\ud800mo"),
    NewTask(name="n" * 9_000 + str(list(range(3_000)))),
    NewTask(name="demo", priority=9),
    NewTask(name="demo", priority=70_000),
    NewTask(name="demo", timeout=-1.0),
    NewTask(name="demo", max_tries=0),
    NewTask(name="demo", delay=1e300),
    NewTask(name="demo", tags=["\x00"]),
    NewTask(name="demo", metadata={"a": "\ud800"}),
    NewTask(name="demo", submitted_by="\x00"),
    NewTask(name="demo", idempotency_key="".join(map(str, range(9_000))), request_hash=b"1"),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
async def test_a_value_that_can_t_be_held_fails_alone(bench: Bench, bad: NewTask) -> None:
    good = NewTask(name="demo", args='{"n": 1}')
    answers = await bench.tasks.submit([good, good, bad, good])
    assert [type(answer) for answer in answers] == [Submitted, Submitted, BadValue, Submitted]
    assert len(await bench.rows("tasks")) == 3


async def test_a_large_group_is_answered_in_its_order(bench: Bench) -> None:
    tasks = [NewTask(name=f"demo{n % 3}", args=json.dumps({"n": n})) for n in range(10_000)]
    with trio.fail_after(10):
        numbers = ids(await bench.tasks.submit(tasks))
    assert len(set(numbers)) == 10_000
    stored = {row["id"]: json.loads(row["args"])["n"] for row in await bench.rows("tasks")}
    assert [stored[number] for number in numbers] == list(range(10_000))


async def test_a_large_body_is_kept(bench: Bench) -> None:
    text = "x" * 250_000
    [task_id] = ids(await bench.tasks.submit([NewTask(name="demo", args=json.dumps({"text": text}))]))
    task = await bench.tasks.get(task_id)
    assert task is not None
    assert task.args == {"text": text}


async def test_a_new_lane_made_by_two_at_once_is_one(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(bench.tasks.submit, [NewTask(name="fresh", queue="q")])
    assert len(await bench.rows("lanes")) == 1
    assert len(await bench.rows("tasks")) == 4
