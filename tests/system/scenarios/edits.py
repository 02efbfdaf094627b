"""P51: schedules are edited, paused, resumed and deleted at the very moments at which they fire."""

from __future__ import annotations

import time
from typing import Any

import trio

from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout

EDITS = 200  # ten around each of twenty seconds
DOOMED = 10  # schedules that are deleted


async def ask(stage: Stage, method: str, path: str, body: Any = None) -> Any:
    answer = await stage.system.cluster.http.request(method, f"schedules{path}", json=body)
    assert answer.is_success or answer.status_code == 409, answer.text
    return answer.json()


def definition(number: int) -> dict[str, Any]:
    return {
        "every": 1,
        "catch_up": "all",
        "task": {"name": "nap", "args": {"seconds": 0.01}, "tags": [f"edit-{number}"]},
    }


async def firing(stage: Stage) -> None:
    made = await ask(stage, "POST", "", {"name": "edited", **definition(0)})
    stage.memory["versions"] = {made["version"]: 0}
    for number in range(DOOMED):
        await ask(stage, "POST", "", {"name": f"doomed-{number}", **definition(-1)})


async def silent(stage: Stage) -> None:
    await ask(stage, "POST", "/edited/pause")
    async with stage.system.database() as database:
        rows = await database.fetch(
            "SELECT s.name, s.deleted_at, w.slot_at, w.kind, w.state, w.version, w.task_id, w.created_at, t.tags"
            " FROM callboard_schedule_slots w JOIN callboard_schedules s ON s.id = w.schedule_id"
            " LEFT JOIN callboard_tasks t ON t.id = w.task_id ORDER BY w.slot_at, w.id"
        )
    stage.memory["slots"] = rows
    for row in rows:
        if row["task_id"] is not None:
            stage.load.asked_for(row["task_id"], f"{row['name']} {row['slot_at'].isoformat()}")


async def one_version_each(stage: Stage) -> None:
    versions, rows = stage.memory["versions"], stage.memory["slots"]
    mine = [row for row in rows if row["name"] == "edited" and row["state"] == "fired"]
    assert len(mine) >= 5, f"V7: only {len(mine)} slots of the edited schedule fired"
    nominal = [row["slot_at"] for row in mine if row["kind"] == "nominal"]
    assert len(set(nominal)) == len(nominal), "V7: a slot is there twice"
    mixed = [
        (str(row["slot_at"]), row["version"], row["tags"])
        for row in mine if row["tags"] != [f"edit-{versions.get(row['version'])}"]
    ]  # fmt: skip
    assert not mixed, f"V7: slots of one version with the task of another: {mixed[:5]}"
    late = [str(row["slot_at"]) for row in rows if row["deleted_at"] and row["created_at"] > row["deleted_at"]]
    assert not late, f"V7: slots were entered after their schedule was deleted: {late[:5]}"
    assert sum(row["deleted_at"] is not None for row in rows) >= DOOMED, "the deleted schedules never fired"


@scenario("P51", "Schedules are edited, paused, resumed and deleted as they fire", group="D", prepare=firing,
          after=silent, check=one_version_each, hold=0.1, fault_at=1.0, faults=0,
          layout=Layout(workers=2, schedulers=2), no_repeats=True)  # fmt: skip
async def p51(stage: Stage) -> None:
    """Edits come in bursts around each second, when slots are due."""
    number = 0
    while number < EDITS:
        await trio.sleep(0.96 - time.time() % 1 if time.time() % 1 < 0.96 else 1.96 - time.time() % 1)
        for _ in range(10):
            number += 1
            made = await ask(stage, "PUT", "/edited", definition(number))
            stage.memory["versions"][made["version"]] = number
            if number % 7 == 0:
                for verb in ("pause", "resume"):
                    made = await ask(stage, "POST", f"/edited/{verb}")
                    stage.memory["versions"][made["version"]] = number
        if number // 10 <= DOOMED:
            await ask(stage, "DELETE", f"/doomed-{number // 10 - 1}")
