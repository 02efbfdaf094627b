"""Whatever is asked, in whatever order: the store in memory answers as PostgreSQL does, and ends with the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors.model.columns import Outcome
from actors.runtime.aio import open_loop
from storage.migrate import migrate
from storage.store import open_store
from storage.url import parse_url
from tests.conformance.conftest import TABLES
from tests.support.bench import Bench, Database, ago, later
from tests.support.memory_bench import memory_bench
from tests.support.postgres import Server
from tests.support.twins import BODIES, Twin

EXAMPLES, STEPS = 8, (30, 60)
_ready: set[str] = set()  # addresses of schemas with our tables

few = st.integers(0, 4)
places = st.integers(0, 8)
slots = st.lists(st.integers(0, 2), min_size=1, max_size=4)
flag = st.sampled_from([False, True])
wish = st.sampled_from([None, False, True])
coordinator = st.sampled_from(["c1", "c1", "c2"])
new = st.fixed_dictionaries(
    {},
    optional={
        "args": st.sampled_from(['{"n": 1.50, "long": 1e3, "a": "ü"}', '{"n": "\\u0000"}', "{", '{"a": [1, null]}']),
        "priority": st.sampled_from([1, 2, 3, 4, 2, 3, 9]),
        "max_tries": st.sampled_from([1, 2, 3]),
        "exclusive": flag,
        "retry_on_crash": flag,
        "timeout": st.sampled_from([5.0, 2.5]),
        "delay": st.sampled_from([0.0, 3600.0]),
        "expires_at": st.sampled_from([ago(100), later(3600)]),
        "tags": st.sampled_from([["a"], ["b", 'c "d"']]),
        "metadata": st.sampled_from([{"team": "x", "e": "y"}]),
        "queue": st.just(None),
        "idempotency_key": st.sampled_from(["a", "b"]),
        "request_hash": st.sampled_from([b"1", b"2"]),
    },
).map(lambda fields: fields if "request_hash" in fields else {**fields, "idempotency_key": None})
news = st.lists(new, min_size=1, max_size=4)
ends = st.lists(
    st.tuples(places, st.sampled_from(list(Outcome)), st.integers(0, len(BODIES) - 1)), min_size=1, max_size=4
)
fields = st.fixed_dictionaries(
    {}, optional={"priority": st.integers(1, 4), "run_at": st.sampled_from([None, ago(5), later(50)])}
)
step = st.one_of(
    st.tuples(st.just("submit"), news),
    st.tuples(st.just("claim"), slots, st.just(True)),
    st.tuples(st.just("claim"), slots, flag),
    st.tuples(st.just("complete"), ends),
    st.tuples(st.just("complete"), ends),
    st.tuples(st.just("mark"), st.lists(places, max_size=3), st.lists(places, max_size=3)),
    st.tuples(st.just("mark"), st.lists(places, max_size=3), st.lists(places, max_size=3)),
    st.tuples(st.just("pass_time"), st.sampled_from(["leases", "windows", "limits", "waits", "waits"])),
    st.tuples(st.just("sweep"), coordinator, flag, flag),
    st.tuples(st.just("post"), news, slots),
    st.tuples(st.just("claimed")),
    st.tuples(st.just("cancel"), places),
    st.tuples(st.just("retry"), places),
    st.tuples(st.just("patch"), places, fields),
    st.tuples(st.just("look"), places),
    st.tuples(st.just("overview")),
    st.tuples(st.just("prune")),
    st.tuples(st.just("open_session"), coordinator),
    st.tuples(
        st.just("resume"), few, st.sampled_from([b"secret", b"secret", b"wrong"]), st.sampled_from([True, True, False])
    ),
    st.tuples(st.just("renew"), st.sampled_from([0.0, 5.0])),
    st.tuples(st.just("wish"), few, wish, wish),
    st.tuples(st.just("end_session"), few, st.sampled_from(["convict", "close", "drain"])),
    st.tuples(st.just("progress"), places, st.sampled_from(['{"done": 1}', "{", '"\\ud800"'])),
)
# What chance alone seldom puts together.
OPEN = ("open_session", "c1")
TAKE, TAKE_ALL = ("claim", [0], True), ("claim", [0, 1, 2, 0], True)
PHRASES: Sequence[Sequence[tuple[Any, ...]]] = (
    [("submit", [{}]), TAKE, ("mark", [], [0]), ("pass_time", "limits"), ("sweep", "c1", True, False)],
    [TAKE_ALL, ("mark", [0, 1], [1]), ("end_session", 0, "convict"), ("sweep", "c2", False, False), OPEN],
    [("submit", [{"priority": 1}]), *[TAKE_ALL, ("complete", [(n, Outcome.CRASHED, 0) for n in range(4)])] * 3],
    [("submit", [{"priority": 1, "retry_on_crash": False}]), TAKE, ("complete", [(0, Outcome.CRASHED, 8)])],
    [("submit", [{"priority": 1, "exclusive": True}]), TAKE, ("pass_time", "windows"), ("sweep", "c1", True, True)],
    [TAKE_ALL, *[("complete", [(0, Outcome.SUCCEEDED, 3), (1, Outcome.FAILED_FINAL, 1)])] * 2],
    [TAKE_ALL, ("cancel", 0), ("renew", 0.0), ("pass_time", "leases"), *[("sweep", "c1", True, False)] * 2,
     OPEN],
    [OPEN, ("submit", [{}] * 4), ("resume", 0, b"secret", False), TAKE_ALL, ("renew", 0.0),
     ("end_session", 0, "close")],
)  # fmt: skip
parts = st.one_of(step.map(lambda one: [one]), step.map(lambda one: [one]), st.sampled_from(PHRASES))
program = st.lists(parts, min_size=STEPS[0], max_size=STEPS[1]).map(lambda some: list(chain.from_iterable(some)))
START: Sequence[tuple[Any, ...]] = (
    OPEN,
    OPEN,
    ("submit", [{}, {}, {"max_tries": 1}]),
)


@pytest.mark.parametrize("phrase", PHRASES, ids=range(len(PHRASES)))
def test_they_answer_alike_where_much_must_come_together(
    postgres_server: Server, phrase: Sequence[tuple[Any, ...]]
) -> None:
    trio.run(compare, postgres_server.url("equivalence"), [*START, *phrase, ("overview",)])


@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)  # fmt: skip
@given(program)
def test_both_stores_answer_alike(postgres_server: Server, steps: Sequence[tuple[Any, ...]]) -> None:
    trio.run(compare, postgres_server.url("equivalence"), [*START, *steps])


async def compare(url: str, steps: Sequence[tuple[Any, ...]]) -> None:
    async with open_loop(), open_store(url) as store:
        database = await emptied(url)
        try:
            real = Twin(Bench(database, store.tasks, store.dispatch, store.notifier, url))
            copy = Twin(memory_bench())
            with trio.fail_after(60):
                for name, *args in steps:
                    assert await copy.do(name, *args) == await real.do(name, *args), (name, args)
                assert await copy.rows() == await real.rows()
        finally:
            database.close()


async def emptied(url: str) -> Database:
    if url not in _ready:
        await migrate(parse_url(url))
        _ready.add(url)
    database = Database(parse_url(url))
    await database.open()
    await database.execute("; ".join(f"DELETE FROM callboard_{table}" for table in TABLES))
    return database
