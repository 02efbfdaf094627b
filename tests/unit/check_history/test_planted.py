"""Each history breaks one invariant, and the judge names just that one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.check_history.history import SECOND, History
from tests.check_history.judge import judge, judge_history, report
from tests.unit.check_history import planted
from tests.unit.check_history.scene import Scene, add, correct, line


def test_a_correct_run_holds() -> None:
    judgement = judge_history(correct())
    assert judgement.verdict == "holds", report(judgement)


@pytest.mark.parametrize(("about", "plant"), planted.VIOLATIONS, ids=lambda one: getattr(one, "__name__", one))
def test_a_violation_is_named(about: str, plant: Any) -> None:
    history = correct()
    plant(history)
    judgement = judge_history(replace(history))
    assert {one.about for one in judgement.problems} == {about}, report(judgement)
    assert judgement.code == 1


@pytest.mark.parametrize("plant", planted.NEAR_MISSES, ids=lambda one: one.__name__)
def test_what_is_legal_is_let_pass(plant: Any) -> None:
    history = correct()
    plant(history)
    judgement = judge_history(replace(history))
    assert judgement.verdict == "holds", report(judgement)


@pytest.mark.parametrize("plant", planted.INCONCLUSIVE, ids=lambda one: one.__name__)
def test_what_can_not_be_told_is_never_a_pass(plant: Any) -> None:
    history = correct()
    plant(history)
    judgement = judge_history(replace(history))
    assert (judgement.verdict, judgement.code) == ("inconclusive", 2), report(judgement)


def write(history: History, folder: Path) -> None:
    (folder / "logs").mkdir()
    (folder / "logs" / "w2.log").write_text("\n".join(history.logs["w2"]) + "\n")
    (folder / "run.json").write_text(json.dumps(history.run))
    tables = {name: getattr(history, name) for name in ("audit", "tasks", "attempts", "workers", "coordinators")}
    for name, lines in (history.files | tables).items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


def test_a_folder_is_judged_like_what_it_holds(tmp_path: Path) -> None:
    write(correct(), tmp_path)
    assert judge(tmp_path).verdict == "holds"


@pytest.mark.parametrize(
    "name",
    ["run.json", "audit.jsonl", "tasks.jsonl", "attempts.jsonl", "workers.jsonl", "coordinators.jsonl", "logs/w2.log",
     "client.1.1.jsonl", "nemesis.2.1.jsonl", "sampler.3.1.jsonl", "w1.7.1.jsonl"],
)  # fmt: skip
def test_without_one_of_its_files_a_run_is_inconclusive(tmp_path: Path, name: str) -> None:
    write(correct(), tmp_path)
    (tmp_path / name).unlink()
    assert judge(tmp_path).code == 2


def test_a_torn_line_makes_a_run_inconclusive(tmp_path: Path) -> None:
    write(correct(), tmp_path)
    with (tmp_path / "client.1.1.jsonl").open("a") as file:
        file.write('{"t": 1, "pro')
    assert judge(tmp_path).code == 2


def test_evidence_shows_the_lines_concerned() -> None:
    history = correct()
    line(history, "verdict", task=6)["key"] = "f" * 32
    assert "f" * 32 in report(judge_history(replace(history)))


def test_many_events_are_judged_in_a_few_seconds() -> None:
    history = correct()
    for second in range(3):
        add(history, "client.1.1", 22 + second, "answer", status=404, body_bytes=10, text="{}")
    sampler = history.files["sampler.3.1"]
    last = sampler.pop()
    for number in range(50_000):
        sampler.append(last | {"t": 40 * SECOND + number, "seq": len(sampler), "event": "clock", "database": 1040.0})
    sampler.append(last | {"seq": len(sampler)})
    assert judge_history(replace(history)).verdict == "holds"


def hurried(late: float) -> History:
    """Many small tasks, each started so many seconds after it was due."""

    def more(scene: Scene) -> None:
        for number in range(30):
            at = 16 + 0.2 * number
            scene.submit(at, 100 + number)
            scene.assign(at + late, 100 + number, 2, "c2")
            scene.end(at + late + 0.05, 100 + number, "return", "succeeded", "succeeded")

    return correct(more)


@pytest.mark.parametrize(("lateness", "late"), [(True, 0.1), ("polling", 1.6)])
def test_lateness_is_judged_where_the_run_says_so(lateness: object, late: float) -> None:
    history = hurried(late)
    history.workers[1]["slots"] = 20
    assert judge_history(replace(history)).verdict == "holds"
    history.run["expect"]["lateness"] = lateness
    assert {one.about for one in judge_history(replace(history)).problems} == {"V19"}
