"""The last line: the table refuses what no statement of ours does."""

from __future__ import annotations

import asyncpg
import pytest

from actors.model.columns import Outcome
from tests.support.bench import Bench

REFUSED = asyncpg.IntegrityConstraintViolationError
STATES = ("blocked", "queued", "assigned", "running", "succeeded", "failed", "cancelled", "expired", "quarantined")
FINAL = STATES[4:]
MOVES = {
    "blocked": {"blocked", "queued", "cancelled", "expired"},
    "queued": {"queued", "assigned", "cancelled", "expired"},
    "assigned": {"assigned", "running", "queued", "succeeded", "failed", "cancelled", "quarantined"},
    "running": {"running", "queued", "succeeded", "failed", "cancelled", "quarantined"},
}


async def put(bench: Bench, state: str) -> int:
    lease = state not in ("blocked", "queued")
    return (
        await bench.put(
            1,
            state=f"'{state}'",
            finished_at="clock_timestamp()" if state in FINAL else "NULL",
            lease_key="gen_random_uuid()" if lease else "NULL",
            session_id="1" if lease else "NULL",
            attempt="1",
        )
    )[0]


def move(before: str, after: str) -> str:
    held = after not in ("blocked", "queued")
    fresh = held and before in ("blocked", "queued")
    lease = "gen_random_uuid()" if fresh else "lease_key" if held else "NULL"
    return (
        f"state = '{after}', finished_at = {'clock_timestamp()' if after in FINAL else 'NULL'}, lease_key = {lease},"
        f" session_id = {1 if held else 'NULL'}, attempt = attempt + {int((before, after) == ('queued', 'assigned'))}"
    )


@pytest.mark.parametrize("before", STATES)
async def test_only_the_moves_of_the_table_are_possible(bench: Bench, before: str) -> None:
    for after in STATES:
        task = await put(bench, before)
        update = f"UPDATE callboard_tasks SET {move(before, after)} WHERE id = $1"
        if after in MOVES.get(before, ()):
            await bench.database.execute(update, task)
        else:
            with pytest.raises(REFUSED):
                await bench.database.execute(update, task)


@pytest.mark.parametrize(
    "change",
    [
        "result = '1'",
        "error = NULL",
        "attempt = 2",
        "finished_at = clock_timestamp()",
        "priority = 3",
        "state = 'queued'",
    ],
)
@pytest.mark.parametrize("kind", [Outcome.SUCCEEDED, Outcome.FAILED_FINAL])
async def test_nothing_of_a_final_row_can_change(bench: Bench, change: str, kind: Outcome) -> None:
    held = await bench.held()
    await bench.end(held, kind)
    with pytest.raises(REFUSED, match="illegal change"):
        await bench.database.execute(f"UPDATE callboard_tasks SET {change}")


@pytest.mark.parametrize("state", ["queued", "assigned", "running"])
@pytest.mark.parametrize("change", ["attempt = 0", "attempt = 2", "id = id + 1000000"])
async def test_attempt_and_id_are_nobody_s_to_set(bench: Bench, state: str, change: str) -> None:
    await put(bench, state)
    with pytest.raises(asyncpg.PostgresError):
        await bench.database.execute(f"UPDATE callboard_tasks SET {change}")


@pytest.mark.parametrize("change", ["lease_key = gen_random_uuid()", "session_id = 2", "lease_key = NULL"])
async def test_a_held_row_keeps_its_lease(bench: Bench, change: str) -> None:
    await bench.held()
    with pytest.raises(REFUSED):
        await bench.database.execute(f"UPDATE callboard_tasks SET {change}")


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "'running'"},
        {"state": "'queued'", "session_id": "1"},
        {"state": "'queued'", "lease_key": "gen_random_uuid()"},
        {"state": "'succeeded'"},
        {"state": "'queued'", "finished_at": "clock_timestamp()"},
        {"tries": "3", "max_tries": "2"},
        {"state": "'lost'"},
        {"priority": "0"},
    ],
)
async def test_a_row_that_means_nothing_can_t_be_written(bench: Bench, columns: dict[str, str]) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await bench.put(1, **columns)
