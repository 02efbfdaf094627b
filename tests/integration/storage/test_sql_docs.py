"""docs/sql.md: every statement is understood, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asyncpg import exceptions as pg

from storage.store import Store
from tests.support.bench import Bench

PAGE = (Path(__file__).parents[3] / "docs" / "sql.md").read_text()
STATEMENTS = [
    line for block in re.findall(r"```sql\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line.strip()
]


async def test_every_statement_runs(bench: Bench, store: Store) -> None:
    await bench.database.execute("CREATE TEMPORARY TABLE orders (id bigint, total integer)")
    assert len(STATEMENTS) > 10
    for statement in STATEMENTS:
        await bench.database.execute(statement)
    [task] = await bench.rows("tasks")
    assert (task["state"], task["unique_key"]) == ("queued", "receipt-7")


async def test_a_rollback_leaves_nothing(bench: Bench, store: Store) -> None:
    for statement in ("BEGIN", "SELECT callboard_submit('demo')", "ROLLBACK"):
        await bench.database.execute(statement)
    assert await bench.rows("tasks") == []


async def test_functions_and_views_of_the_page_are_all_there_are_for_callers(bench: Bench, store: Store) -> None:
    views = await bench.database.fetch(
        "SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname LIKE 'callboard%'"
    )
    assert {row["viewname"] for row in views} == set(re.findall(r"`(callboard_\w+_view)`", PAGE))


async def test_a_wrong_value_is_told(bench: Bench, store: Store) -> None:
    with pytest.raises(pg.InvalidParameterValueError, match="callboard: priority must be from 1 to 4, got 9"):
        await bench.database.execute("SELECT callboard_submit('demo', priority => 9)")
