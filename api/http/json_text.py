"""JSON of bodies and answers; what is wrong with a body becomes a Problem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from actors.model.strict_json import Malformed, loads, suspicious, unstorable
from actors.model.wrong import Wrong
from api.http.problems import Problem, field_problems, malformed


def encode(value: Any) -> bytes:
    """JSON of an answer. Numbers beyond 64 bits, which SQL submissions may hold, take the slow path."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(msgspec.to_builtins(value, str_keys=True), separators=(",", ":")).encode()


def parse(raw: bytes, where: str = "the body") -> Any:
    """The value; raises Problem 400 with line and column, or 422 naming the fields that can't be stored."""
    value = _loads(raw, where)
    found = list(unstorable(value, "", search=suspicious(raw)))
    if found:
        raise _unstorable(found)
    return value


def parse_lines(raw: bytes, limit: int) -> list[Any]:
    """NDJSON: one value a line; empty lines are skipped. At most `limit` + 1 values, so that more is noticed."""
    values: list[Any] = []
    found: list[Wrong] = []
    search = suspicious(raw)
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip() and len(values) <= limit:
            value = _loads(line, f"line {number}")
            found += unstorable(value, f"[{len(values)}]", search=search)
            values.append(value)
    if found:
        raise _unstorable(found)
    return values


def _unstorable(found: Sequence[Wrong]) -> Problem:
    return Problem(status=422, code="invalid", detail=found[0].line, errors=field_problems(found))


def _loads(raw: bytes, where: str) -> Any:
    try:
        return loads(raw, where)
    except Malformed as error:
        raise malformed(error.code, error.detail) from None
