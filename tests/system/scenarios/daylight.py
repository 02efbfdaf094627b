"""P49: a scheduler dies while the clocks of a zone change, and every slot is what the zone's own hours make of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import trio

from tests.system.bench import clocks
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.clocks import database_with_a_clock
from tests.system.scenarios.processes import killed_are_back

BEFORE, AFTER = 60.0, 8.0  # seconds of the database's clock from the start to the change, and beyond it
TASK = {"name": "nap", "args": {"seconds": 0.01}}
PACE: Mapping[str, Mapping[str, Any]] = {  # what means a distance keeps it
    "minutes": {"cron": "* * * * *"},
    "seconds": {"cron": "*/5 * * * * *", "seconds": True},
}


def gap(expression: str) -> dict[str, tuple[dict[str, Any], int]]:
    """Of a time of the day that the clocks skip: definitions, and how often each fires at the change."""
    return {
        "shift": ({"cron": expression}, 1),
        "skip": ({"cron": expression, "dst_gap": "skip"}, 0),
    }


def fold(expression: str) -> dict[str, tuple[dict[str, Any], int]]:
    """Of a time of the day that is there for the second time at the change."""
    return {
        "first": ({"cron": expression}, 0),
        "last": ({"cron": expression, "dst_fold": "last"}, 1),
        "both": ({"cron": expression, "dst_fold": "both"}, 1),
    }


def enter(name: str, zone: str, change: str, fixed: dict[str, tuple[dict[str, Any], int]]) -> None:
    at = datetime.fromisoformat(change)

    async def before(stage: Stage) -> None:
        await database_with_a_clock(stage)
        stage.memory["postgres"].set(at.timestamp() - BEFORE - time.time())

    async def prepare(stage: Stage) -> None:
        definitions = {**PACE, **{policy: definition for policy, (definition, _) in fixed.items()}}
        for policy, definition in definitions.items():
            body = {"name": policy, "timezone": zone, "task": TASK, **definition}
            answer = await stage.system.cluster.http.post("schedules", json=body)
            assert answer.is_success, answer.text
        assert await now(stage) < at.timestamp() - 2, "it took too long to begin: the clocks have changed"

    async def hit(stage: Stage) -> None:
        while await now(stage) < at.timestamp() - 1:
            await trio.sleep(0.1)
        await trio.sleep(stage.random.uniform(0, 2))
        victim = stage.random.choice(["front", "c1"])
        stage.memory["killed"] = [victim]
        await stage.nemesis.kill(victim)
        while await now(stage) < at.timestamp() + AFTER:
            await trio.sleep(0.1)

    async def silent(stage: Stage) -> None:
        for policy in (*PACE, *fixed):
            answer = await stage.system.cluster.http.post(f"schedules/{policy}/pause")
            assert answer.is_success, answer.text
        async with stage.system.database() as database:
            rows = await database.fetch(
                "SELECT s.name, w.slot_at, w.task_id FROM callboard_schedule_slots w"
                " JOIN callboard_schedules s ON s.id = w.schedule_id"
            )
        stage.memory["slots"] = rows
        for row in rows:
            if row["task_id"] is not None:
                stage.load.asked_for(row["task_id"], f"{row['name']} {row['slot_at'].isoformat()}")

    async def check(stage: Stage) -> None:
        for policy, count in {**dict.fromkeys(PACE, 1), **{one: count for one, (_, count) in fixed.items()}}.items():
            found = [row for row in stage.memory["slots"] if row["name"] == policy and row["slot_at"] == at]
            assert len(found) == count, f"V7: {policy} fired {len(found)} times at the change"

    scenario(
        f"P49.{name}", f"A scheduler dies while the clocks of a zone change: {zone}, at {change}", group="D",
        needs=(clocks.missing,), before=before,
        prepare=prepare, after=silent, check=check, heal=killed_are_back, hold=1.0, fault_at=1.0, no_repeats=True,
        layout=Layout(workers=2, schedulers=2),
    )(hit)  # fmt: skip


async def now(stage: Stage) -> float:
    return float(await stage.system.scalar("SELECT extract(epoch FROM clock_timestamp())::float8"))


enter("berlin.gap", "Europe/Berlin", "2027-03-28T01:00:00+00:00", gap("30 2 * * *"))
enter("berlin.fold", "Europe/Berlin", "2027-10-31T01:00:00+00:00", fold("0 2 * * *"))
enter("new_york.gap", "America/New_York", "2027-03-14T07:00:00+00:00", gap("30 2 * * *"))
enter("lord_howe.gap", "Australia/Lord_Howe", "2027-10-02T15:30:00+00:00", gap("15 2 * * *"))
enter("beirut.gap", "Asia/Beirut", "2027-03-27T22:00:00+00:00", gap("0 0 * * *"))
