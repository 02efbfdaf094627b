"""Reads the folder of one run. What is missing is noted, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.check_history.history import History

TABLES = ("audit", "tasks", "attempts", "workers", "coordinators")
SCHEDULES = {"schedules": "schedules", "slots": "schedule_slots"}  # both, or neither: a run without schedules
_EVENT = {"t", "proc", "life", "seq", "event"}


def read(folder: Path) -> History:
    """Never raises for what is wrong inside the folder: that is in `missing`."""
    missing: list[str] = []
    tables = {name: _lines(folder / f"{name}.jsonl", missing, needed=set()) for name in TABLES}
    if any((folder / f"{file}.jsonl").exists() for file in SCHEDULES.values()):
        for name, file in SCHEDULES.items():
            tables[name] = _lines(folder / f"{file}.jsonl", missing, needed={"id"})
    files = {
        path.name.removesuffix(".jsonl"): _lines(path, missing, _EVENT)
        for path in sorted(folder.glob("*.*.*.jsonl"))
        if path.name.count(".") == 3
    }
    logs = {path.stem: _text(path) for path in sorted((folder / "logs").glob("*.log"))}
    if not logs:
        missing.append("logs/: no log of any process")
    tables["audit"].sort(key=lambda row: int(row.get("id", 0)))
    return History(run=_run(folder / "run.json", missing), files=files, logs=logs, missing=missing, **tables)


def _run(path: Path, missing: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        missing.append(f"{path.name}: {error}")
        return {}
    if not isinstance(found, dict):
        missing.append(f"{path.name}: not an object")
        return {}
    return found


def _lines(path: Path, missing: list[str], needed: set[str]) -> list[dict[str, Any]]:
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        missing.append(f"{path.name}: {error}")
        return []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            one = json.loads(line)
        except ValueError:
            one = None
        if not isinstance(one, dict) or not needed <= one.keys():
            missing.append(f"{path.name}: line {number} is not what it should be: {line[:80]}")
            return found
        found.append(one)
    return found


def _text(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()
