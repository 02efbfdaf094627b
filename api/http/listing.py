"""GET /tasks: filters and cursor from the query string."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.model.ports import TaskFilter
from actors.model.task import SHOWN_STATES
from actors.model.times import instant
from actors.model.wrong import shown
from api.http.ids import before_id_of
from api.http.problems import FieldProblem, invalid
from api.http.reading import unknown_parameter

LIMIT, MOST = 100, 1_000
METADATA = 64  # keys that one query may ask for: as many as a task may have
PARAMETERS = (
    "state", "name", "queue", "tag", "worker", "schedule", "workflow", "created_after", "created_before",
    "metadata.KEY", "limit", "cursor",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    where: TaskFilter
    limit: int
    before_id: int | None
    query: str  # the filters in one canonical text: what a cursor is good for


def listing(args: Mapping[str, list[str]]) -> Listing:
    """From the values of each parameter. Raises Problem 400 (cursor), 422 with every wrong parameter."""
    found: list[FieldProblem] = []
    values: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for name, given in args.items():
        if name.startswith("metadata.") and len(name) > len("metadata."):
            parse: Callable[[str], Any] = _text
        elif name in _PARSERS:
            parse = _PARSERS[name]
        else:
            raise unknown_parameter(name, PARAMETERS)
        if len(given) > 1 and name != "state":
            found.append(_wrong(name, "twice", "the parameter is there twice"))
            continue
        try:
            value = parse(",".join(given))
        except ValueError as error:
            found.append(_wrong(name, "invalid", str(error)))
            continue
        if parse is _text and name.startswith("metadata."):
            metadata[name.removeprefix("metadata.")] = value
        else:
            values[name] = value
    if len(metadata) > METADATA:
        found.append(_wrong("metadata.KEY", "out_of_range", f"at most {METADATA} keys, got {len(metadata)}"))
    if found:
        raise invalid(found)
    return _listing(values, metadata)


def _listing(values: dict[str, Any], metadata: dict[str, str]) -> Listing:
    limit, cursor = values.pop("limit", LIMIT), values.pop("cursor", None)
    where = TaskFilter(states=values.pop("state", ()), metadata=metadata, **values)
    query = repr(where)
    return Listing(where, limit, None if cursor is None else before_id_of(cursor, query), query)


def _text(text: str) -> str:
    if not 0 < len(text) <= 1024:
        raise ValueError("must have 1 to 1024 characters")
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in text):
        raise ValueError("contains NUL or what is not valid UTF-8")
    return text


def _states(text: str) -> tuple[str, ...]:
    states = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for state in states:
        if state not in SHOWN_STATES:
            raise ValueError(f"{shown(state)} is no state; known: {', '.join(SHOWN_STATES)}")
    return states


def _limit(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= number <= MOST:
        raise ValueError(f"must be a whole number from 1 to {MOST}, got {shown(text)}")
    return number


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) < 2**63):
        raise ValueError(f"{shown(text)} is no id")
    return int(text)


def _time(text: str) -> Any:
    try:
        return instant(text)
    except ValueError as error:
        hint = " (in a query string, write + as %2B)" if " " in text else ""
        raise ValueError(f"{error}{hint}") from None


def wait_seconds(args: Mapping[str, list[str]], most: float = 60.0) -> float:
    """Of GET /tasks/{id}?wait=. Raises Problem 422."""
    for name in args:
        if name != "wait":
            raise unknown_parameter(name, ["wait"])
    given = args.get("wait", ["0"])
    try:
        number = float(given[0]) if len(given) == 1 and len(given[0]) < 16 else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise invalid([_wrong("wait", "out_of_range", f"must be a number of seconds from 0 to {most:g}")])
    return number


def _wrong(name: str, code: str, detail: str) -> FieldProblem:
    return FieldProblem(field=name[:64], code=code, detail=detail)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "state": _states,
    "name": _text,
    "queue": _text,
    "tag": _text,
    "worker": _text,
    "schedule": _text,
    "workflow": _number,
    "created_after": _time,
    "created_before": _time,
    "limit": _limit,
    "cursor": str,
}
