"""The statements: one .sql file each, loaded by name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """The text of storage/sql/NAME.sql."""
    return (files("storage") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
