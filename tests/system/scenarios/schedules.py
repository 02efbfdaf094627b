"""Schedules while their schedulers die: every slot once, none left out."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import pairwise

import trio

from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import killed_are_back

SECOND = timedelta(seconds=1)
TICK = {
    "name": "tick", "cron": "* * * * * *", "seconds": True, "catch_up": "all", "overlap": "allow",
    "task": {"name": "nap", "args": {"seconds": 0.01}},
}  # fmt: skip


async def ticking(stage: Stage) -> None:
    answer = await stage.system.cluster.http.post("schedules", json=TICK)
    assert answer.is_success, answer.text


async def silent(stage: Stage) -> None:
    """No slot fires any more, and what has fired counts as asked for."""
    answer = await stage.system.cluster.http.post("schedules/tick/pause")
    assert answer.is_success, answer.text
    async with stage.system.database() as database:
        rows = await database.fetch(
            "SELECT slot_at, state, count, task_id FROM callboard_schedule_slots ORDER BY slot_at, id"
        )
    stage.memory["slots"] = rows
    for row in rows:
        if row["task_id"] is not None:
            stage.load.asked_for(row["task_id"], f"tick {row['slot_at'].isoformat()}")


async def every_slot_once(stage: Stage) -> None:
    rows = stage.memory["slots"]
    assert len(rows) >= 8, f"V7: only {len(rows)} slots fired"
    times = [row["slot_at"] for row in rows]
    assert len(set(times)) == len(times), "V7: a slot is there twice"
    holes = [str(before) for before, after in pairwise(times) if after - before != SECOND]
    assert not holes, f"V7: a slot is missing after {holes[:5]}"
    assert {row["state"] for row in rows} == {"fired"}, "V7: not every slot fired, and none was late by a minute"
    made = await stage.system.scalar("SELECT count(DISTINCT task_id) FROM callboard_schedule_slots")
    assert made == len(rows), f"V7: {len(rows)} slots made {made} tasks"


enter = partial(scenario, group="A", prepare=ticking, after=silent, check=every_slot_once, heal=killed_are_back,
                hold=1.0, fault_at=3.0, shapes=("once", "repeated"), no_repeats=True)  # fmt: skip


@enter("P05", "The scheduler is killed in the middle of a schedule that fires each second")
async def p05(stage: Stage) -> None:
    await trio.sleep(stage.random.uniform(0, 1))
    stage.memory["killed"] = ["front"]
    await stage.nemesis.kill("front")


@enter(
    "P50", "Two schedulers fire the same schedule, and one of them is killed", layout=Layout(workers=2, schedulers=2)
)
async def p50(stage: Stage) -> None:
    await trio.sleep(stage.random.uniform(0, 1))
    victim = stage.random.choice(["front", "c1"])
    stage.memory["killed"] = [victim]
    await stage.nemesis.kill(victim)
