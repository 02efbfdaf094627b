"""V7: a history with schedules, changed by a little, is judged by what the change broke."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.check_history.history import History
from tests.check_history.judge import judge, judge_history, report
from tests.check_history.nominal import times
from tests.support.slow_cron import walk
from tests.unit.check_history.scene import BASE, Scene, correct
from tests.unit.check_history.test_planted import write

Mutation = Callable[[History], None]
FIRST = BASE + 2  # seconds at which the schedule was made


def ticking() -> History:
    """A schedule of every 5 s: three slots fired, one skipped, three counted in a gap; then it is paused."""

    def more(scene: Scene) -> None:
        for number, at in enumerate((5, 10, 15)):
            scene.submit(at, 200 + number, schedule_id=1)
            scene.assign(at + 0.1, 200 + number, 2, "c2" if at > 12 else "c1")
            scene.end(at + 0.2, 200 + number, "return", "succeeded", "succeeded")

    history = correct(more)
    for row in history.tasks:
        row.setdefault("schedule_id", None)
    plain = {
        "schedule_id": 1,
        "kind": "nominal",
        "reason": None,
        "task_id": None,
        "version": 1,
        "count": 1,
        "until": None,
    }

    def slot(number: int, at: float, state: str, **fields: Any) -> dict[str, Any]:
        return {**plain, "id": number, "slot_at": FIRST + at, "state": state, "created_at": FIRST + at + 0.1, **fields}

    history.slots = [
        slot(1, 5, "fired", task_id=200), slot(2, 10, "fired", task_id=201), slot(3, 15, "fired", task_id=202),
        slot(4, 20, "skipped", reason="overlap: task 202 is unfinished"),
        slot(5, 25, "gap", reason="paused", count=3, until=FIRST + 35, created_at=FIRST + 36),
    ]  # fmt: skip
    history.schedules = [
        {"id": 1, "name": "tick", "version": 1, "anchor": FIRST, "created_at": FIRST, "counted_to": FIRST + 35,
         "definition": json.dumps({"every": 5.0, "cron": None, "at": None}), "paused_at": FIRST + 36,
         "deleted_at": None},
    ]  # fmt: skip
    return history


def edit(number: int, **fields: Any) -> Mutation:
    def plant(history: History) -> None:
        next(row for row in history.slots if row["id"] == number).update(fields)

    return plant


def drop(number: int) -> Mutation:
    def plant(history: History) -> None:
        history.slots[:] = [row for row in history.slots if row["id"] != number]

    return plant


def again(number: int, **fields: Any) -> Mutation:
    def plant(history: History) -> None:
        found = next(row for row in history.slots if row["id"] == number)
        history.slots.append({**found, "id": 99, **fields})

    return plant


def of_schedule(**fields: Any) -> Mutation:
    return lambda history: history.schedules[0].update(fields)


def both(*plants: Mutation) -> Mutation:
    def plant(history: History) -> None:
        for one in plants:
            one(history)

    return plant


def test_a_correct_run_with_schedules_holds(tmp_path: Path) -> None:
    history = ticking()
    judgement = judge_history(replace(history))
    assert judgement.verdict == "holds", report(judgement)
    write(history, tmp_path)
    for name, rows in (("schedules", history.schedules), ("schedule_slots", history.slots)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert judge(tmp_path).verdict == "holds"
    (tmp_path / "schedules.jsonl").unlink()
    assert judge(tmp_path).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("said", "plant"),
    [
        ("not accounted for", drop(2)),
        ("not accounted for", drop(5)),
        ("rows of one slot", again(4)),
        ("slots have one task", again(4, state="fired", task_id=201, slot_at=FIRST + 21)),
        ("no time at which it fires", edit(4, slot_at=FIRST + 21)),
        ("a gap says 4 and holds 3", edit(5, count=4)),
        ("accounted for 2 times", edit(5, slot_at=FIRST + 20, count=4)),
        ("before its time", edit(4, created_at=FIRST + 19)),
        ("its task 1 is not its own", edit(3, task_id=1)),
        ("has no slot", edit(3, task_id=None, state="skipped")),
        ("is fired with task None", edit(4, state="fired")),
        ("a schedule that is not there", edit(4, schedule_id=7)),
        ("not accounted for", both(drop(5), of_schedule(counted_to=FIRST + 20))),
        ("not accounted for", of_schedule(definition={"every": 2.5})),
    ],
)
def test_a_violation_is_named(said: str, plant: Mutation) -> None:
    history = ticking()
    plant(history)
    judgement = judge_history(replace(history))
    assert {one.about for one in judgement.problems} == {"V7"}, report(judgement)
    assert any(said in one.sentence for one in judgement.problems), report(judgement)


@pytest.mark.parametrize(
    "plant",
    [
        edit(5, count=7, reason="edited; at least so many"),
        edit(4, kind="backfill"),
        of_schedule(version=2, definition={"every": 3.0}),
        of_schedule(paused_at=FIRST + 39.9),
        again(4, kind="trigger", slot_at=FIRST + 21.0001),
    ],
)
def test_what_is_legal_is_let_pass(plant: Mutation) -> None:
    history = ticking()
    plant(history)
    judgement = judge_history(replace(history))
    assert judgement.verdict == "holds", report(judgement)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut"])
def test_its_opinion_of_cron_is_that_of_another_slow_one(zone: str) -> None:
    chance = random.Random(zone)
    for _ in range(6):
        text = chance.choice(["30 2 * * *", "0 0 * * *", "*/15 1-3 * * *", "15,45 2 * * 0", "5 */2 1-20 * mon"])
        day = chance.choice([datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)])
        gap, fold = chance.choice(["shift", "skip"]), chance.choice(["first", "last", "both"])
        end = day + timedelta(days=2)
        definition = {"cron": text, "timezone": zone, "dst_gap": gap, "dst_fold": fold}
        found = times(definition, 0.0, day.timestamp(), end.timestamp())
        assert found == [at.timestamp() for at in walk(text, zone, day, end, gap=gap, fold=fold)], definition


def test_seconds_and_spans_are_walked() -> None:
    definition = {"cron": "*/20 * * * * *", "seconds": True, "end_at": "1970-01-01T00:17:00Z"}
    assert times(definition, 0.0, 955.0, 2000.0) == [960.0, 980.0, 1000.0, 1020.0]
    assert times({"at": "1970-01-01T00:16:40Z"}, 0.0, 0.0, 2000.0) == [1000.0]
    assert times({"every": 1.5, "start_at": "1970-01-01T00:16:40Z"}, 0.0, 0.0, 1003.0) == [1000.0, 1001.5, 1003.0]
