"""What PostgreSQL can hold, and how it shows it: text, jsonb, numbers, intervals. Raises BadValue for the rest."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

from actors.model.errors import BadValue

INDEXED = 2_600  # bytes of a text in an index; PostgreSQL's bound is after compression, so that it holds some more
WHOLE_DIGITS, FRACTION_DIGITS = 131_072, 16_383  # of a number in jsonb
_SPECIAL = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
_FLOAT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def text(value: str) -> str:
    """A value of type text."""
    if "\x00" in value:
        raise BadValue("value", "text can't hold a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue("value", "text can't hold a lone surrogate") from None
    return value


def indexed(value: str) -> str:
    """A text that an index holds."""
    if len(text(value).encode()) > INDEXED:
        raise BadValue("value", f"an indexed text has at most {INDEXED} bytes")
    return value


def jsonb(source: str) -> Any:
    """The value of a JSON text: numbers that are not whole, or long, as Decimal."""
    try:
        value = json.loads(text(source), parse_float=_number, parse_int=_whole, parse_constant=_constant)
    except ValueError as error:
        raise BadValue("value", f"no JSON: {str(error)[:200]}") from None
    except RecursionError:
        raise BadValue("value", "JSON of too many levels") from None
    _check(value)
    return value


def shown(value: Any) -> str:
    """The text of a jsonb value, keys in its order: short ones first."""
    match value:
        case dict():
            keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
            return "{" + ", ".join(f"{shown(key)}: {shown(value[key])}" for key in keys) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
        case Decimal():
            return format(abs(value) if value == 0 else value, "f")
        case _:
            return json.dumps(value, ensure_ascii=False)


def stored(source: str) -> str:
    """A JSON text as a jsonb column gives it back."""
    return shown(jsonb(source))


def member(value: Any, name: str) -> str | None:
    """``value ->> name``."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if found is None or isinstance(found, str) else shown(found)


def number(source: str) -> float:
    """``source::float8``."""
    plain = source.strip().lower()
    if (special := _SPECIAL.get(plain.lstrip("+-"))) is not None:
        return -special if plain.startswith("-") else special
    if not _FLOAT.fullmatch(plain):
        raise BadValue("value", f"no number: {source[:64]!r}")
    found = float(plain)
    if math.isinf(found) or (found == 0 and re.search("[1-9]", plain.split("e")[0])):
        raise BadValue("value", f"out of the range of a float: {source[:64]!r}")
    return found


def boolean(source: str) -> bool:
    """``source::boolean``, of what JSON writes."""
    if source not in ("true", "false"):
        raise BadValue("value", f"no boolean: {source[:64]!r}")
    return source == "true"


def time(source: str) -> datetime:
    """``source::timestamptz``, of what ISO 8601 writes."""
    try:
        found = datetime.fromisoformat(source)
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue("value", f"no time: {source[:64]!r}") from None


def later(when: datetime, seconds: float) -> datetime:
    """``when + make_interval(secs => seconds)``."""
    try:
        return when + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise BadValue("value", f"no time is {seconds:g} s away") from None


def hashed(source: str) -> int:
    """64 bits, signed; not the ones that PostgreSQL would make."""
    return int.from_bytes(blake2b(text(source).encode(), digest_size=8).digest(), "big", signed=True)


def within(value: float | None, low: float, high: float, what: str) -> None:
    """A CHECK constraint; NULL passes."""
    if value is not None and not low <= value <= high:
        raise BadValue("value", f"{what} must be from {low:g} to {high:g}")


def contains(value: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """``value @> part``, of an object of strings."""
    return all(name in value and value[name] == wanted for name, wanted in part.items())


def _number(digits: str) -> Decimal:
    try:
        value = Decimal(digits)
    except InvalidOperation:
        raise BadValue("value", "a number beyond PostgreSQL's range") from None
    if value and value.adjusted() >= WHOLE_DIGITS:
        raise BadValue("value", "a number beyond PostgreSQL's range")
    if isinstance(exponent := value.as_tuple().exponent, int) and exponent < -FRACTION_DIGITS:
        raise BadValue("value", "a number beyond PostgreSQL's range")
    return value


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < 19 else _number(digits)


def _constant(name: str) -> Any:
    raise BadValue("value", f"{name} is no JSON")


def _check(value: Any) -> None:
    """No string of it has what text can't hold."""
    match value:
        case str():
            text(value)
        case dict():
            for key, one in value.items():
                text(key)
                _check(one)
        case list():
            for one in value:
                _check(one)
