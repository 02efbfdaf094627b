"""What a run of the demo has shown, from what the API says afterwards, and whether it kept the promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]  # an object as the API shows it


@dataclass(slots=True)
class Failover:
    """What was killed, when, and what came of it."""

    worker: str
    name: str
    pid: int
    killed_at: float  # wall clock, as the database's times
    clock: float
    done: int  # tasks that were finished before
    running: int
    executors: Sequence[int] = ()
    executors_gone: float | None = None  # seconds after the kill
    lost: float | None = None  # seconds until it was shown as lost


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that the judgement rests on."""

    posted: int
    tasks: Sequence[Row]
    attempts: Mapping[str, Sequence[Row]]  # of tasks that were assigned more than once
    workers: Sequence[Row]
    merged: Row  # the last task
    seconds: float
    failover: Failover | None


def judge(run: Run) -> dict[str, Any]:
    """The facts of a run; `ok` only if every task succeeded with exactly one accepted outcome."""
    found = problems(run)
    rows = [row for each in run.attempts.values() for row in each]
    return {
        "ok": not found,
        "problems": found,
        "tasks": len(run.tasks),
        "succeeded": sum(task["state"] == "succeeded" for task in run.tasks),
        "seconds": round(run.seconds, 3),
        "tasks_per_second": round(len(run.tasks) / run.seconds, 1),
        "attempts": sum(int(task["attempt"]) for task in run.tasks),
        "attempts_ended_otherwise": dict(Counter(str(row["outcome"]) for row in rows if row["accepted"])),
        "refused_late_outcomes": sum(not row["accepted"] for row in rows),
        "lost_workers": [run.failover.name] if run.failover and run.failover.lost is not None else [],
        "workers": shares(run),
        "failover": failover_facts(run),
    }


def problems(run: Run) -> list[str]:
    """What broke the promise; empty when nothing did."""
    states = Counter(str(task["state"]) for task in run.tasks)
    found = [f"{count} tasks are {state}" for state, count in states.items() if state != "succeeded"]
    if len({str(task["id"]) for task in run.tasks}) != run.posted:
        found.append(f"{run.posted} tasks were posted and {len(run.tasks)} are there")
    if odd := sum(accepted_successes(task, run.attempts) != 1 for task in run.tasks):
        found.append(f"{odd} tasks do not have exactly one accepted outcome")
    if run.merged["state"] != "succeeded":
        found.append(f"merge_report is {run.merged['state']}: {(run.merged['error'] or {}).get('message')}")
    if run.failover is None:
        found.append("no worker was killed: none held a task at the right time")
    elif run.failover.lost is None:
        found.append(f"{run.failover.name} was killed and never shown as lost")
    return found


def accepted_successes(task: Row, attempts: Mapping[str, Sequence[Row]]) -> int:
    """The final row is one; another could only stand beside it as an accepted attempt."""
    beside = {row["attempt"] for row in attempts.get(str(task["id"]), ()) if _is_success(row)} - {task["attempt"]}
    return int(task["state"] == "succeeded") + len(beside)


def _is_success(row: Row) -> bool:
    return bool(row["outcome"] == "succeeded" and row["accepted"])


def shares(run: Run) -> list[dict[str, Any]]:
    """Tasks that each worker finished. A restarted node is a new worker of the same name."""
    finished = Counter(str(task["worker"]) for task in run.tasks)
    known = {str(worker["id"]): worker for worker in run.workers}
    killed = run.failover
    rows = []
    for one in {*finished, *known, *([killed.worker] if killed else [])}:
        if killed is not None and one == killed.worker:
            name, state = killed.name, "killed"
        else:
            name, state = (known[one]["name"], known[one]["state"]) if one in known else (one, "gone")
        share = round(finished[one] / max(1, len(run.tasks)), 4)
        rows.append({"name": name, "id": one, "state": state, "tasks": finished[one], "share": share})
    return sorted(rows, key=lambda row: (row["name"], row["state"] != "killed", row["id"]))


def failover_facts(run: Run) -> dict[str, Any] | None:
    """From the kill to the last new start of what the killed worker held."""
    failover = run.failover
    if failover is None:
        return None
    taken = {one for one, rows in run.attempts.items() if any(row["worker"] == failover.worker for row in rows)}
    starts = [_instant(task["started_at"] or task["assigned_at"]) for task in run.tasks if str(task["id"]) in taken]
    return {
        "worker": failover.name,
        "id": failover.worker,
        "pid": failover.pid,
        "signal": "SIGKILL",
        "finished_before": failover.done,
        "held": failover.running,
        "executors": len(failover.executors),
        "executors_gone_after": _rounded(failover.executors_gone),
        "lost_after": _rounded(failover.lost),
        "reassigned": len(starts),
        "seconds_to_last_new_start": _rounded(max(starts) - failover.killed_at if starts else None),
    }


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
