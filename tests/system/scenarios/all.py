"""Importing this fills the catalogue."""

from __future__ import annotations

from tests.system.bench.scenario import CATALOGUE
from tests.system.scenarios import (
    clocks,
    database,
    daylight,
    edits,
    failpoints,
    measured,
    missed,
    network,
    pooled,
    pressure,
    processes,
    rivals,
    schedules,
    stopping,
)

__all__ = [
    "CATALOGUE",
    "clocks",
    "database",
    "daylight",
    "edits",
    "failpoints",
    "measured",
    "missed",
    "network",
    "pooled",
    "pressure",
    "processes",
    "rivals",
    "schedules",
    "stopping",
]
