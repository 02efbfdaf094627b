"""Writes down what the database holds at the end, and under which terms the run took place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from actors.model.lease import LeaseTerms
from tests.system.bench.system import System

TABLES = ("tasks", "attempts", "workers", "coordinators", "schedules", "schedule_slots")


async def dump(system: System) -> None:
    """The audit, the final tables and the logs."""
    async with system.database() as database:
        audit = await database.fetch("SELECT * FROM bench_audit ORDER BY id")
        _write(system.history / "audit.jsonl", (_audited(dict(row)) for row in audit))
        for table in TABLES:
            rows = await database.fetch(f"SELECT * FROM callboard_{table} ORDER BY 1")
            _write(system.history / f"{table}.jsonl", (dict(row) for row in rows))
    (system.history / "logs").mkdir(exist_ok=True)
    for name in system.lives:
        shutil.copy(system.log(name), system.history / "logs" / f"{name}.log")


def _audited(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"key": int(row["key"]) if row["key"].isdigit() else row["key"]}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w") as file:
        for row in rows:
            file.write(json.dumps({name: plain(value) for name, value in row.items()}) + "\n")


def plain(value: Any) -> Any:
    """As JSON: times in seconds since the epoch, bytes and UUIDs in hexadecimal."""
    match value:
        case datetime():
            return value.timestamp()
        case UUID():
            return value.hex
        case bytes():
            return value.hex()
    return value


def terms_as_json(terms: LeaseTerms) -> dict[str, float]:
    return {
        "heartbeat": terms.heartbeat, "lease": terms.lease, "margin": terms.margin, "grace": terms.grace,
        "ack_window": terms.ack_window, "renew": terms.renewal, "sweep": terms.sweep, "dispatch": terms.poll,
        "statement": terms.statement_limit, "quiet": terms.quiet_period, "silence": terms.silence,
    }  # fmt: skip
