"""What the bench counts in a history: repeats, overlap, failovers; and that a missing end is no end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.system.bench.account import account, failovers, intervals

S = 1_000_000_000


def lines(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def ran(task: int, attempt: int, start: float, pid: int, end: float | None = None, how: str = "return") -> list[Any]:
    common = {"task": task, "attempt": attempt, "pid": pid}
    found = [{"t": int(start * S), "event": "exec_start", "worker": f"w{pid}", "slots": 4, **common}]
    return found if end is None else [*found, {"t": int(end * S), "event": "exec_end", "how": how, **common}]


def a_history(folder: Path) -> Path:
    """Worker w1 is killed at 10 s while it runs task 1, which w2 begins at 13 s; task 2 ran twice at once."""
    lines(folder / "handlers.1.1.jsonl", *ran(1, 1, 9, 1), *ran(2, 1, 4, 1, 8))
    lines(folder / "handlers.2.1.jsonl", *ran(1, 2, 13, 2, 14), *ran(2, 2, 7, 2, 8), *ran(3, 1, 1, 2, 2, "raise"),
          *ran(3, 2, 3, 2, 4))  # fmt: skip
    lines(
        folder / "nemesis.9.1.jsonl",
        {"t": 10 * S, "event": "fault_on", "id": "f1", "kind": "visible_death", "target": "w1", "kills": [1]},
    )
    lines(folder / "sampler.9.1.jsonl", {"t": int(10.1 * S), "event": "gone", "pid": 1})
    lines(folder / "client.9.1.jsonl", *({"t": 0, "event": "submit_ok", "op": n, "task": n} for n in (1, 2, 3, 4)))
    lines(folder / "w1.1.1.jsonl", {"t": 15 * S, "event": "verdict", "task": 2, "verdict": "fenced"})
    lines(folder / "tasks.jsonl", *({"id": n, "state": "succeeded"} for n in (1, 2)), {"id": 3, "state": "queued"})
    lines(folder / "audit.jsonl", *({"table": "tasks", "key": 2, "new_state": "succeeded"} for _ in range(2)))
    return folder


def test_a_history_in_numbers(tmp_path: Path) -> None:
    found = account(a_history(tmp_path))
    assert (found.acknowledged, found.lost, found.unfinished, found.finals) == (4, [4], [3], 1)
    assert (found.runs, found.repeated, found.fenced) == (6, [1, 2], 1)  # the try of task 3 had failed
    assert (found.overlap, found.overlapping) == (1.0, [2])


def test_a_failover_lasts_from_the_blow_to_the_next_start(tmp_path: Path) -> None:
    assert failovers(a_history(tmp_path)) == [3.0]


def test_who_was_killed_ended_then_and_who_says_nothing_has_not_ended(tmp_path: Path) -> None:
    history = a_history(tmp_path)
    killed = next(one for one in intervals(history) if (one.task, one.attempt) == (1, 1))
    assert (killed.end, killed.how) == (10 * S, "killed")
    lines(history / "nemesis.9.1.jsonl")
    lines(history / "sampler.9.1.jsonl")
    silent = next(one for one in intervals(history) if (one.task, one.attempt) == (1, 1))
    assert (silent.end, silent.how) == (None, "unknown")
