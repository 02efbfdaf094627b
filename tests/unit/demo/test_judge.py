"""What the demo calls a success, and how it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api.demo_judge import Failover, Run, judge

KILLED_AT = 1_767_225_600.0  # 2026-01-01T00:00:00Z
LOST = {"attempt": 1, "outcome": "lost", "accepted": True, "worker": "w2-aa"}


def task(number: int, worker: str, attempt: int = 1, state: str = "succeeded", second: float = 1.0) -> dict[str, Any]:
    started = f"2026-01-01T00:00:{second:06.3f}Z"
    return {"id": str(number), "state": state, "attempt": attempt, "worker": worker, "started_at": started}


def worker(name: str, one: str, state: str = "alive") -> dict[str, Any]:
    return {"id": one, "name": name, "state": state}


def a_run() -> Run:
    """Four tasks; one was lost with worker 2 and taken over by worker 1 after 2.5 s."""
    return Run(
        posted=4,
        tasks=[task(1, "w1-aa"), task(2, "w1-aa", 2, second=2.5), task(3, "w2-aa"), task(4, "w1-aa")],
        attempts={"2": [LOST]},
        workers=[worker("w1", "w1-aa"), worker("w2", "w2-bb")],
        merged={"state": "succeeded", "error": None},
        seconds=2.0,
        failover=Failover("w2-aa", "w2", 77, KILLED_AT, 0.0, 1, 1, executors=(78,), executors_gone=0.01, lost=2.1),
    )


def test_a_failover_without_loss_is_a_success() -> None:
    facts = judge(a_run())
    assert facts["ok"]
    assert facts["problems"] == []
    assert facts["attempts"] == 5
    assert facts["attempts_ended_otherwise"] == {"lost": 1}
    assert facts["tasks_per_second"] == 2.0
    assert facts["lost_workers"] == ["w2"]


def test_the_failover_is_timed_from_the_kill_to_the_last_new_start() -> None:
    failover = judge(a_run())["failover"]
    assert failover["reassigned"] == 1
    assert failover["seconds_to_last_new_start"] == 2.5


def test_a_restarted_node_is_a_worker_of_its_own() -> None:
    rows = judge(a_run())["workers"]
    assert [(row["id"], row["state"], row["tasks"], row["share"]) for row in rows] == [
        ("w1-aa", "alive", 3, 0.75),
        ("w2-aa", "killed", 1, 0.25),
        ("w2-bb", "alive", 0, 0.0),
    ]


def test_refused_late_outcomes_are_evidence_not_a_second_success() -> None:
    late = {"attempt": 1, "outcome": "succeeded", "accepted": False, "worker": "w2-aa"}
    facts = judge(replace(a_run(), attempts={"2": [LOST, late]}))
    assert facts["ok"]
    assert facts["refused_late_outcomes"] == 1


def test_a_second_accepted_success_is_a_broken_promise() -> None:
    second = {"attempt": 1, "outcome": "succeeded", "accepted": True, "worker": "w2-aa"}
    facts = judge(replace(a_run(), attempts={"2": [second]}))
    assert facts["problems"] == ["1 tasks do not have exactly one accepted outcome"]


def test_the_winning_attempt_may_be_listed_too() -> None:
    winner = {"attempt": 2, "outcome": "succeeded", "accepted": True, "worker": "w1-aa"}
    assert judge(replace(a_run(), attempts={"2": [LOST, winner]}))["ok"]


def test_a_task_that_failed_or_is_missing_fails_the_demo() -> None:
    run = a_run()
    facts = judge(replace(run, tasks=[task(1, "w1-aa", state="failed"), *run.tasks[1:3]]))
    assert not facts["ok"]
    assert facts["problems"] == [
        "1 tasks are failed",
        "4 tasks were posted and 3 are there",
        "1 tasks do not have exactly one accepted outcome",
    ]


def test_a_demo_that_killed_nobody_has_shown_nothing() -> None:
    facts = judge(replace(a_run(), failover=None))
    assert not facts["ok"]
    assert facts["failover"] is None


def test_a_merge_that_failed_says_why() -> None:
    merged = {"state": "failed", "error": {"message": "4 results were announced and 3 are there"}}
    assert judge(replace(a_run(), merged=merged))["problems"] == [
        "merge_report is failed: 4 results were announced and 3 are there"
    ]
