"""How the hot path reads: by primary key or along one index, whatever the planner believes of the table."""

from __future__ import annotations

import re
from typing import Any

import pytest

from storage.pool import STEADY_PLANS
from storage.queries import sql
from tests.support.bench import NOW, Bench

BATCH = {
    "succeed": "bigint[], int[], uuid[], text[]",
    "settle": "bigint[], int[], uuid[], int[], text[], int",
    "judge": "bigint[], int[], uuid[], int[], text[], int[], text[]",
    "mark_accepted": "bigint[], int[], uuid[]",
    "mark_started": "bigint[], int[], uuid[], float8",
    "save_progress": "bigint[], int[], text[]",
    "claim": "int[], bigint[], int[], int[], uuid, float8, float8, float8",
    "sweep": "int, text, int, float8, text, uuid[], float8, bigint[]",
    "take": "bigint[], int[], text[], bigint[], int[], uuid, float8, float8",
    "count_stragglers": "text[]",
    "resolve": "int, text",
}
MAY_WALK = {
    "claim": {"callboard_tasks_due"},
    "sweep": {"callboard_tasks_held"},
    "count_stragglers": {"callboard_tasks_held"},
}
READS_ALL = {"count_stragglers"}  # of what is out


@pytest.fixture
def bench(postgres: Bench, own_statistics: None) -> Bench:
    """Plans are PostgreSQL's."""
    return postgres


async def plan(bench: Bench, name: str) -> str:
    for setting, value in STEADY_PLANS.items():
        await bench.database.execute(f"SET {setting} = {value}")
    types = BATCH[name]
    await bench.database.execute(f"PREPARE probe ({types}) AS {sql(name)}")
    nulls = ", ".join("NULL" for _ in types.split(","))
    rows = await bench.database.fetch(f"EXPLAIN EXECUTE probe ({nulls})")
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("statistics", ["none", "nothing queued", "nothing held", "one lane"])
@pytest.mark.parametrize("name", BATCH)
async def test_rows_known_by_id_are_read_by_primary_key(bench: Bench, name: str, statistics: str) -> None:
    await bench.database.execute("TRUNCATE callboard_tasks CASCADE")
    await bench.database.execute("DELETE FROM pg_statistic WHERE starelid = 'callboard_tasks'::regclass")
    if statistics == "one lane":
        await bench.lane()
        await bench.database.execute("ANALYZE callboard_lanes")
    elif statistics != "none":
        done: dict[str, Any] = {"state": "succeeded", "finished_at": NOW}
        await bench.put(2_000, **({} if statistics == "nothing held" else done))
        await bench.database.execute("ANALYZE callboard_tasks")
    text = await plan(bench, name)
    assert "Seq Scan on callboard_tasks" not in text, text
    used = set(re.findall(r"using (callboard_tasks_\w+)", text))
    assert "callboard_tasks_pkey" in used, text
    assert used <= {"callboard_tasks_pkey"} | MAY_WALK.get(name, set()), text
    for index in MAY_WALK.get(name, ()) if name not in READS_ALL else ():
        scan = text[text.index(f"using {index}") :].split("->")[0]
        assert "Index Cond" in scan, text


async def test_a_claim_touches_no_more_pages_beside_tasks_of_others(bench: Bench) -> None:
    await bench.put(200)
    session = await bench.session()
    await bench.claim(session, 1)

    async def pages() -> int:
        lane = await bench.lane()
        turns = "array_fill(0, ARRAY[50])"
        values = f"ARRAY[{lane}], ARRAY[{session.id}::bigint], ARRAY[1], {turns}, gen_random_uuid(), 5, 2, 300"
        await bench.database.execute("BEGIN")
        rows = await bench.database.fetch(f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE probe ({values})")
        await bench.database.execute("ROLLBACK")
        line = next(row[0] for row in rows if "Buffers" in row[0])
        return sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", line))

    await plan(bench, "claim")
    await pages()
    before = await pages()
    await bench.put(20_000, name="nobody has it")
    await bench.put(5_000, name="demo", state="succeeded", finished_at=NOW)
    later = "UPDATE callboard_tasks SET run_at = run_at + interval '1 h' WHERE state = 'queued' AND id > $1"
    ids = await bench.put(5_000)
    await bench.database.execute(later, ids[0] - 1)
    await pages()
    assert await pages() <= before * 1.3
