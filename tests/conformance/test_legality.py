"""The last line: the table refuses what no statement of ours does."""

from __future__ import annotations

import os
from typing import Any

import asyncpg
import pytest

from actors.model.columns import Outcome
from tests.support.bench import NOW, Bench

STATES = ("blocked", "queued", "assigned", "running", "succeeded", "failed", "cancelled", "expired", "quarantined")
FINAL = STATES[4:]
MOVES = {
    "blocked": {"blocked", "queued", "cancelled", "expired"},
    "queued": {"queued", "assigned", "cancelled", "expired", "quarantined"},
    "assigned": {"assigned", "running", "queued", "succeeded", "failed", "cancelled", "quarantined"},
    "running": {"running", "queued", "succeeded", "failed", "cancelled", "quarantined"},
}


async def put(bench: Bench, state: str) -> int:
    lease = state not in ("blocked", "queued")
    return (
        await bench.put(
            1,
            state=state,
            finished_at=NOW if state in FINAL else None,
            lease_key=os.urandom(16) if lease else None,
            session_id=1 if lease else None,
            attempt=1,
        )
    )[0]


def move(row: dict[str, Any], after: str) -> dict[str, Any]:
    before, held = row["state"], after not in ("blocked", "queued")
    fresh = held and before in ("blocked", "queued")
    return {
        "state": after,
        "finished_at": NOW if after in FINAL else None,
        "lease_key": os.urandom(16) if fresh else row["lease_key"] if held else None,
        "session_id": 1 if held else None,
        "attempt": row["attempt"] + int((before, after) == ("queued", "assigned")),
    }


@pytest.mark.parametrize("before", STATES)
async def test_only_the_moves_of_the_table_are_possible(bench: Bench, before: str) -> None:
    for after in STATES:
        task = await put(bench, before)
        columns = move(await bench.task(task), after)
        if after in MOVES.get(before, ()):
            await bench.change("tasks", {"id": task}, **columns)
        else:
            with pytest.raises(bench.illegal):
                await bench.change("tasks", {"id": task}, **columns)


@pytest.mark.parametrize(
    "change",
    [
        {"result": "1"},
        {"error": None},
        {"attempt": 2},
        {"finished_at": NOW},
        {"priority": 3},
        {"state": "queued"},
    ],
)
@pytest.mark.parametrize("kind", [Outcome.SUCCEEDED, Outcome.FAILED_FINAL])
async def test_nothing_of_a_final_row_can_change(bench: Bench, change: dict[str, Any], kind: Outcome) -> None:
    held = await bench.held()
    await bench.end(held, kind)
    with pytest.raises(bench.illegal, match="illegal change"):
        await bench.change("tasks", **change)


@pytest.mark.parametrize("state", ["queued", "assigned", "running"])
@pytest.mark.parametrize("attempt", [0, 2])
async def test_the_attempt_is_nobody_s_to_set(bench: Bench, state: str, attempt: int) -> None:
    await put(bench, state)
    with pytest.raises(bench.illegal):
        await bench.change("tasks", attempt=attempt)


@pytest.mark.parametrize("state", ["queued", "assigned", "running"])
async def test_the_id_is_nobody_s_to_set(postgres: Bench, state: str) -> None:
    await put(postgres, state)
    with pytest.raises(asyncpg.PostgresError):
        await postgres.database.execute("UPDATE callboard_tasks SET id = id + 1000000")


@pytest.mark.parametrize("change", [{"lease_key": b"0" * 16}, {"session_id": 2}])
async def test_a_held_row_keeps_its_lease(bench: Bench, change: dict[str, Any]) -> None:
    await bench.held()
    with pytest.raises(bench.illegal):
        await bench.change("tasks", **change)


async def test_a_held_row_has_a_lease(bench: Bench) -> None:
    await bench.held()
    with pytest.raises((bench.illegal, bench.meaningless)):
        await bench.change("tasks", lease_key=None)


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "running"},
        {"state": "queued", "session_id": 1},
        {"state": "queued", "lease_key": b"0" * 16},
        {"state": "succeeded"},
        {"state": "queued", "finished_at": NOW},
        {"tries": 3, "max_tries": 2},
        {"state": "lost"},
        {"priority": 0},
        {"timeout": 0.0},
        {"max_tries": 1001},
    ],
)
async def test_a_row_that_means_nothing_can_t_be_written(bench: Bench, columns: dict[str, Any]) -> None:
    with pytest.raises(bench.meaningless):
        await bench.put(1, **columns)


async def test_a_statement_that_is_refused_changes_nothing(bench: Bench) -> None:
    held = await bench.held()
    await bench.end(held, Outcome.SUCCEEDED)
    [task] = await bench.put(1)
    before = await bench.rows("tasks")
    with pytest.raises(bench.illegal):
        await bench.change("tasks", priority=1)
    assert await bench.rows("tasks") == before
    assert (await bench.task(task))["priority"] == 2
