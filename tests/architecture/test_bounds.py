"""The bounds that the documentation promises are those of the source."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

DEPLOYMENT = Path(__file__).parents[2] / "docs/deployment.md"
ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?P<most>[0-9,]+) \| [^|]+ \| `(?P<where>[\w.]+)` \|$", re.MULTILINE)


def value_of(where: str) -> Any:
    """A constant of a module, or of a class in one."""
    path, _, name = where.rpartition(".")
    try:
        holder: Any = import_module(path)
    except ModuleNotFoundError:
        module, _, owner = path.rpartition(".")
        holder = getattr(import_module(module), owner)
    return getattr(holder, name)


def test_every_bound_is_as_documented() -> None:
    section = DEPLOYMENT.read_text().split("## Bounds\n")[1].split("\n## ")[0]
    rows = list(ROW.finditer(section))
    assert len(rows) == section.count("\n| ") - 1  # the head is no row
    said = {row["where"]: int(row["most"].replace(",", "")) for row in rows}
    assert said == {where: value_of(where) for where in said}
    assert len(said) > 20
