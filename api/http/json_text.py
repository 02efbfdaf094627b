"""JSON from strangers: parsed strictly, and searched for what can't be stored.

PostgreSQL holds neither NUL nor lone surrogates, and executors no number beyond 64 bits; duplicate keys,
NaN and bottomless nesting have no meaning that two programs agree on.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from api.http.problems import FieldProblem, Problem, malformed, shown

DEPTH = 64  # containers within containers
# Without any of these bytes a text can't hold a NUL, a lone surrogate or a number out of range.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{19}|[eE]\+?[0-9]{3}")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def encode(value: Any) -> bytes:
    """JSON of an answer. Numbers beyond 64 bits, which SQL submissions may hold, take the slow path."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(msgspec.to_builtins(value, str_keys=True), separators=(",", ":")).encode()


def parse(raw: bytes, where: str = "the body") -> Any:
    """The value; raises Problem 400 with line and column, or 422 naming the fields that can't be stored."""
    value = _loads(raw, where)
    found = list(unstorable(value, "", search=_SUSPICIOUS.search(raw) is not None))
    if found:
        raise Problem(status=422, code="invalid", detail=_line(found[0]), errors=found)
    return value


def parse_lines(raw: bytes, limit: int) -> list[Any]:
    """NDJSON: one value a line; empty lines are skipped. At most `limit` + 1 values, so that more is noticed."""
    values: list[Any] = []
    found: list[FieldProblem] = []
    search = _SUSPICIOUS.search(raw) is not None
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip() and len(values) <= limit:
            value = _loads(line, f"line {number}")
            found += unstorable(value, f"[{len(values)}]", search=search)
            values.append(value)
    if found:
        raise Problem(status=422, code="invalid", detail=_line(found[0]), errors=found)
    return values


def unstorable(value: Any, path: str, *, search: bool) -> Iterator[FieldProblem]:
    """What is too deep; with `search` also what no column can hold. Not recursive: depth is the sender's choice."""
    waiting: list[tuple[Any, str, int]] = [(value, path, 1)]
    while waiting:
        one, where, depth = waiting.pop()
        if depth > DEPTH:
            yield FieldProblem(field=where[:200], code="too_deep", detail=f"more than {DEPTH} levels of nesting")
            return
        inner: list[tuple[Any, Any]] = []
        if type(one) is dict:
            inner = (
                [(_member(where, key), item) for key, item in one.items()]
                if search
                else [
                    (_member(where, key), item) for key, item in one.items() if type(item) is dict or type(item) is list
                ]
            )
            if search:
                for key in one:
                    if trouble := _trouble(key):
                        yield FieldProblem(field=_member(where, key), code=trouble[0], detail=f"the key {trouble[1]}")
        elif type(one) is list:
            inner = [
                (f"{where}[{index}]", item)
                for index, item in enumerate(one)
                if search or type(item) is dict or type(item) is list
            ]
        elif search and (trouble := _trouble(one)):
            yield FieldProblem(field=where, code=trouble[0], detail=trouble[1])
        waiting.extend((item, name, depth + 1) for name, item in inner)


def _trouble(value: Any) -> tuple[str, str] | None:
    if isinstance(value, str):
        if "\x00" in value:
            return "nul", "contains a NUL character (\\u0000), which can't be stored: leave it out"
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            return "surrogate", "contains half of a surrogate pair, which is no character: send valid Unicode"
    elif isinstance(value, bool):
        return None
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "out_of_range", f"{shown(value, 24)} does not fit into 64 bits: send it as a string"
    elif isinstance(value, float) and not math.isfinite(value):
        return "out_of_range", "the number is too large: send it as a string"
    return None


def _member(where: str, key: str) -> str:
    if not _PLAIN_NAME.fullmatch(key):
        return f"{where}[{shown(key)}]"
    return f"{where}.{key[:64]}" if where else key[:64]


def _loads(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw.decode(), object_pairs_hook=_pairs, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise malformed("malformed_json", f"{where} is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        if not raw.strip():
            raise malformed("malformed_json", f"{where} is empty: send a JSON object") from None
        at = f"line {error.lineno}, column {error.colno}"
        raise malformed("malformed_json", f"{where} is not JSON ({at}): {error.msg}") from None
    except RecursionError:
        raise malformed("malformed_json", f"{where} has more than {DEPTH} levels of nesting") from None
    except ValueError:  # int() refuses more than 4,300 digits
        raise malformed("malformed_json", f"{where} has a number that is out of range") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise malformed("duplicate_key", f"the key {shown(twice)} is there twice in one object")
    return made


def _constant(text: str) -> None:
    raise malformed("malformed_json", f"{text} is not JSON: send null or a string")


def _line(problem: FieldProblem) -> str:
    return f"{problem['field']}: {problem['detail']}" if problem["field"] else problem["detail"]
