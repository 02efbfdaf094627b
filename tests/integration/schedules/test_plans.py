"""What schedulers ask all the time walks an index, however many schedules and tasks there are."""

from __future__ import annotations

import re

import pytest

from storage.pool import STEADY_PLANS
from storage.queries import sql
from storage.schedules import DUE, FREE
from tests.integration.schedules.conftest import Book

DUE_INDEX, WAITING, UNFINISHED = (
    "callboard_schedules_due", "callboard_schedule_slots_waiting", "callboard_tasks_unfinished_of_schedule"
)  # fmt: skip
ASKED = {
    "look": (sql("look_at_schedules"), "", {DUE_INDEX, WAITING}),
    "due": (sql("schedule") + DUE, "int", {DUE_INDEX}),
    "free": (sql("schedule") + FREE, "int", {WAITING, UNFINISHED}),
    "unfinished": (sql("unfinished_of_schedules"), "bigint[]", {WAITING, UNFINISHED}),
    "waiting": (sql("next_waiting"), "bigint[]", {WAITING, UNFINISHED}),
    "cancel": (sql("cancel_of_schedules"), "bigint[]", {UNFINISHED}),
}


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("name", ASKED)
async def test_it_reads_no_table_whole(book: Book, name: str, statistics: bool) -> None:
    await book.add("s")
    await book.database.execute(
        "INSERT INTO callboard_schedules (name, definition, lane_id, anchor, counted_to, next_slot_at, created_at,"
        " updated_at) SELECT 'n' || n, definition, lane_id, anchor, counted_to, next_slot_at + n * interval '1 hour',"
        " created_at, updated_at FROM callboard_schedules, generate_series(1, 2000) AS n"
    )
    await book.database.execute(
        "INSERT INTO callboard_tasks (lane_id, state, finished_at, schedule_id) SELECT 1, 'succeeded', now(), s.id"
        " FROM callboard_schedules s, generate_series(1, 5000) WHERE s.name = 's'"
    )
    if statistics:
        await book.database.execute("ANALYZE")
    for setting, value in STEADY_PLANS.items():
        await book.database.execute(f"SET {setting} = {value}")
    text, types, indexes = ASKED[name]
    await book.database.execute(f"PREPARE probe{f'({types})' if types else ''} AS {text}")
    rows = await book.database.fetch(f"EXPLAIN EXECUTE probe{'(NULL)' if types else ''}")
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan" not in plan, plan
    used = set(re.findall(r"(?:using|on) (callboard_(?:schedule_slots|schedules|tasks)_\w+)", plan))
    assert indexes <= used, plan
    assert "callboard_tasks_schedule" not in used, plan  # it holds a million that have ended
