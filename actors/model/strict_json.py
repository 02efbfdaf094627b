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

from actors.model.wrong import Wrong, member, shown

DEPTH = 64  # containers within containers
# Without any of these bytes a text can't hold a NUL, a lone surrogate or a number out of range.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{19}|[eE]\+?[0-9]{3}")


class Malformed(ValueError):
    """What was sent is no JSON; `code` is ``malformed_json`` or ``duplicate_key``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def loads(raw: bytes, where: str) -> Any:
    """The value; raises Malformed with line and column."""
    try:
        return json.loads(raw.decode(), object_pairs_hook=_pairs, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise Malformed("malformed_json", f"{where} is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        if not raw.strip():
            raise Malformed("malformed_json", f"{where} is empty: send a JSON object") from None
        at = f"line {error.lineno}, column {error.colno}"
        raise Malformed("malformed_json", f"{where} is not JSON ({at}): {error.msg}") from None
    except RecursionError:
        raise Malformed("malformed_json", f"{where} has more than {DEPTH} levels of nesting") from None
    except Malformed:
        raise
    except ValueError:  # int() refuses more than 4,300 digits
        raise Malformed("malformed_json", f"{where} has a number that is out of range") from None


def suspicious(raw: bytes) -> bool:
    """Whether the value of this text must be searched with `unstorable(search=True)`."""
    return _SUSPICIOUS.search(raw) is not None


def unstorable(value: Any, path: str, *, search: bool) -> Iterator[Wrong]:
    """What is too deep; with `search` also what no column can hold. Not recursive: depth is the sender's choice."""
    waiting: list[tuple[Any, str, int]] = [(value, path, 1)]
    while waiting:
        one, where, depth = waiting.pop()
        if depth > DEPTH:
            yield Wrong(where[:200], "too_deep", f"more than {DEPTH} levels of nesting")
            return
        inner: list[tuple[Any, str]] = []
        if type(one) is dict:
            inner = [
                (item, member(where, key))
                for key, item in one.items()
                if search or type(item) is dict or type(item) is list
            ]
            if search:
                for key in one:
                    if trouble := _trouble(key):
                        yield Wrong(member(where, key), trouble[0], f"the key {trouble[1]}")
        elif type(one) is list:
            inner = [
                (item, f"{where}[{index}]")
                for index, item in enumerate(one)
                if search or type(item) is dict or type(item) is list
            ]
        elif search and (trouble := _trouble(one)):
            yield Wrong(where, *trouble)
        waiting.extend((item, name, depth + 1) for item, name in inner)


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


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed("duplicate_key", f"the key {shown(twice)} is there twice in one object")
    return made


def _constant(text: str) -> None:
    raise Malformed("malformed_json", f"{text} is not JSON: send null or a string")
