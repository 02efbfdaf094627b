"""P47 and P48: time passes in which nothing fires, really or by the database's clock alone."""

from __future__ import annotations

import trio

from tests.system.bench import clocks
from tests.system.bench.scenario import Stage, scenario
from tests.system.scenarios.clocks import database_with_a_clock
from tests.system.scenarios.daylight import now
from tests.system.scenarios.processes import killed_are_back

MISSED = {"none": 0, "last": 1, "all": 5}  # catch_up → missed slots that fire all the same
PERIOD, LATE, AWAY, HOUR = 30.0, 60.0, 600.0, 3600.0  # seconds


async def three_policies(stage: Stage) -> None:
    for policy in MISSED:
        body = {
            "name": policy, "every": PERIOD, "catch_up": policy, "catch_up_cap": MISSED["all"],
            "task": {"name": "nap", "args": {"seconds": 0.01}},
        }  # fmt: skip
        answer = await stage.system.cluster.http.post("schedules", json=body)
        assert answer.is_success, answer.text


async def silent(stage: Stage) -> None:
    """What has fired counts as asked for, and nothing more fires."""
    for policy in MISSED:
        answer = await stage.system.cluster.http.post(f"schedules/{policy}/pause")
        assert answer.is_success, answer.text
    async with stage.system.database() as database:
        rows = await database.fetch(
            "SELECT s.name, w.slot_at, w.state, w.task_id, w.created_at - w.slot_at AS late"
            " FROM callboard_schedule_slots w JOIN callboard_schedules s ON s.id = w.schedule_id ORDER BY w.slot_at"
        )
    stage.memory["slots"] = rows
    for row in rows:
        if row["task_id"] is not None:
            stage.load.asked_for(row["task_id"], f"{row['name']} {row['slot_at'].isoformat()}")


async def as_their_policies_say(stage: Stage) -> None:
    for policy, count in MISSED.items():
        rows = [row for row in stage.memory["slots"] if row["name"] == policy]
        assert len(rows) >= AWAY / PERIOD - 1, f"V7: only {len(rows)} slots of {policy} are accounted for"
        missed = [row for row in rows if row["late"].total_seconds() > LATE]
        fired = [row["slot_at"] for row in missed if row["state"] == "fired"]
        assert len(fired) == count, f"V7: {len(fired)} missed slots of {policy} fired"
        newest = missed[-1]["slot_at"]
        expected = {"none": [], "last": [newest], "all": [row["slot_at"] for row in missed[:count]]}[policy]
        assert fired == expected, f"V7: {policy} fired {fired}"


@scenario("P48", "The scheduler is away for ten minutes, by the database's clock", group="D",
          needs=(clocks.missing,), before=database_with_a_clock, prepare=three_policies, after=silent,
          check=as_their_policies_say, heal=killed_are_back, hold=1.0, fault_at=3.0, faults=2, final_within=60.0,
          lossy=True, overlap="any")  # fmt: skip
async def p48(stage: Stage) -> None:
    stage.memory["killed"] = ["front"]
    await stage.nemesis.kill("front")
    fault = stage.nemesis.on("other", "postgres")
    stage.memory["postgres"].set(AWAY)
    stage.nemesis.took(fault, f"ten minutes passed: {AWAY:g} s")


async def ticking(stage: Stage) -> None:
    body = {"name": "tick", "every": 5, "catch_up": "none", "task": {"name": "nap", "args": {"seconds": 0.01}}}
    answer = await stage.system.cluster.http.post("schedules", json=body)
    assert answer.is_success, answer.text


async def quiet(stage: Stage) -> None:
    """As the other, of the one schedule."""
    answer = await stage.system.cluster.http.post("schedules/tick/pause")
    assert answer.is_success, answer.text
    async with stage.system.database() as database:
        rows = await database.fetch("SELECT * FROM callboard_schedule_slots ORDER BY id")
    stage.memory["slots"] = rows
    for row in rows:
        if row["task_id"] is not None:
            stage.load.asked_for(row["task_id"], f"tick {row['slot_at'].isoformat()}")


async def nothing_of_the_hour_fired(stage: Stage) -> None:
    rows, jump, believed = stage.memory["slots"], stage.memory["jump"], stage.memory["believed"]
    early = [row for row in rows if jump + 1 < row["created_at"].timestamp() < believed]
    assert not early, f"V7: {len(early)} slots were decided before the clock was believed"
    late = [row for row in rows if row["created_at"].timestamp() >= believed]
    fired = [row for row in late if row["state"] == "fired"]
    assert fired, "V7: nothing fires after the clock was believed"
    assert len(fired) < 40, f"V7: {len(fired)} slots fired after the jump"
    assert sum(row["count"] for row in late if row["state"] != "fired") > 600, "V7: the hour is not accounted for"


@scenario("P47.hour", "The database's clock jumps ahead by an hour while a schedule fires", group="D",
          needs=(clocks.missing,), before=database_with_a_clock, prepare=ticking, after=quiet,
          check=nothing_of_the_hour_fired, hold=1.0, fault_at=8.0, final_within=90.0, lossy=True,
          overlap="any")  # fmt: skip
async def p47_hour(stage: Stage) -> None:
    fault = stage.nemesis.on("other", "postgres")
    stage.memory["postgres"].set(HOUR)
    stage.memory["jump"] = await now(stage)
    stage.nemesis.took(fault, "an hour passed in a moment")
    await trio.sleep(19)  # three readings, ten seconds apart
    stage.memory["believed"] = await now(stage)
    await trio.sleep(16)
