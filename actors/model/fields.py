"""Kinds of fields that clients may send: one place says what is taken, and how that is described to them.

`read` takes a value as JSON gives it and converts nothing silently. What is wrong is appended to `found`;
the value returned then means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from actors.model.retry import Backoff
from actors.model.times import instant
from actors.model.wrong import Wrong, json_kind, member, shown

MOST_WAIT = 2_592_000  # seconds of a back-off


class Kind(Protocol):
    def read(self, value: Any, field: str, found: list[Wrong]) -> Any: ...
    def schema(self) -> dict[str, Any]:
        """JSON Schema."""
        ...


def _mistyped(wanted: str, value: object, field: str, found: list[Wrong]) -> None:
    found.append(Wrong(field, "wrong_type", f"must be {wanted}, not {json_kind(value)}"))


@dataclass(frozen=True, slots=True)
class Text:
    """Printable or not: stored as it is."""

    most: int
    least: int = 1

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not str:
            return _mistyped("a string", value, field, found)
        if not self.least <= len(value) <= self.most:
            detail = f"must have {self.least} to {self.most} characters, got {len(value)}: {shown(value)}"
            found.append(Wrong(field, "out_of_range", detail))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": self.least, "maxLength": self.most}


@dataclass(frozen=True, slots=True)
class Name:
    """Of a handler or a queue."""

    most: int

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        before = len(found)
        Text(self.most).read(value, field, found)
        if len(found) > before:
            return None
        if not value.isprintable() or " " in value or "<" in value:
            detail = f"{shown(value)} has spaces, '<' or unprintable characters: use a name like images.thumbnail"
            found.append(Wrong(field, "invalid", detail))
        return value

    def schema(self) -> dict[str, Any]:
        return {**Text(self.most).schema(), "pattern": r"^[^\s<]+$"}


@dataclass(frozen=True, slots=True)
class Whole:
    low: int
    high: int

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not int:
            return _mistyped("a whole number", value, field, found)
        if not self.low <= value <= self.high:
            detail = f"must be a whole number from {self.low} to {self.high}, got {shown(value, 24)}"
            found.append(Wrong(field, "out_of_range", detail))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Seconds:
    """From 0, or above it, to `most`; neither NaN nor infinity."""

    most: float
    above: bool = False

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not float and type(value) is not int:
            return _mistyped("a number of seconds", value, field, found)
        if not (value > 0 if self.above else value >= 0) or not value <= self.most:
            lowest = "more than 0" if self.above else "from 0"
            detail = f"must be {lowest} to {self.most:g} seconds, got {shown(value, 24)}"
            found.append(Wrong(field, "out_of_range", detail))
        return value

    def schema(self) -> dict[str, Any]:
        lowest = "exclusiveMinimum" if self.above else "minimum"
        return {"type": "number", lowest: 0, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Switch:
    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        return value if type(value) is bool else _mistyped("true or false", value, field, found)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Choice:
    """One of some words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not str:
            return _mistyped("a string", value, field, found)
        if value not in self.words:
            found.append(Wrong(field, "invalid", f"must be one of {', '.join(self.words)}, got {shown(value)}"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Period:
    """One of some words, or a number of seconds above 0."""

    words: tuple[str, ...]
    most: float

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is str:
            return Choice(*self.words).read(value, field, found)
        if type(value) is not float and type(value) is not int:
            return _mistyped(f"one of {', '.join(self.words)}, or a number of seconds", value, field, found)
        return Seconds(self.most, above=True).read(value, field, found)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [Choice(*self.words).schema(), Seconds(self.most, above=True).schema()]}


@dataclass(frozen=True, slots=True)
class Id:
    """The id of a task or a workflow as it is shown; becomes a number."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> int:
        if type(value) is not str:
            _mistyped("a string", value, field, found)
        elif value.isascii() and value.isdigit() and 0 < int(value[:20]) < 2**63:
            return int(value)
        else:
            found.append(Wrong(field, "invalid", f"{shown(value)} is no id: give one as it was answered"))
        return 0

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9]{1,19}$"}


@dataclass(frozen=True, slots=True)
class Ids:
    """An array of ids as they are shown, each once; becomes numbers."""

    most: int

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not list:
            return _mistyped("an array", value, field, found)
        if len(value) > self.most:
            found.append(Wrong(field, "out_of_range", f"must have at most {self.most} items, got {len(value)}"))
            return None
        return list(dict.fromkeys(Id().read(one, f"{field}[{index}]", found) for index, one in enumerate(value)))

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": Id().schema(), "maxItems": self.most}


@dataclass(frozen=True, slots=True)
class Instant:
    """Becomes an aware time in UTC."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        try:
            return instant(value)
        except ValueError as error:
            found.append(Wrong(field, "invalid", str(error)))
            return None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True)
class Wait:
    """A back-off: seconds, or an object; becomes its stored form."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        try:
            return _backoff(value)
        except ValueError as error:
            found.append(Wrong(field, "invalid", str(error)))
            return None

    def schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": 0, "maximum": MOST_WAIT}
        properties = {
            "kind": {"enum": ["exponential", "fixed"], "default": "exponential"},
            "base": {**number, "default": 1},
            "cap": {**number, "default": 3600, "description": "Not below base"},
            "jitter": {"type": "boolean", "default": True},
        }
        return {"anyOf": [number, {"type": "object", "additionalProperties": False, "properties": properties}]}


def _backoff(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        for name in ("base", "cap"):
            if type(value.get(name, 0)) not in (int, float):
                raise ValueError(f"{name} must be a number of seconds")
        if not isinstance(value.get("jitter", True), bool) or not isinstance(value.get("kind", ""), str):
            raise ValueError("kind must be a string and jitter true or false")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('write a number of seconds, or an object like {"kind": "exponential", "base": 1, "cap": 3600}')
    try:
        return Backoff.from_json(value).as_json()
    except OverflowError:
        raise ValueError("a number is out of range") from None


@dataclass(frozen=True, slots=True)
class Texts:
    """An array of texts."""

    item: Text | Choice
    most: int

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not list:
            return _mistyped("an array", value, field, found)
        if len(value) > self.most:
            found.append(Wrong(field, "out_of_range", f"must have at most {self.most} items, got {len(value)}"))
            return None
        for index, one in enumerate(value):
            self.item.read(one, f"{field}[{index}]", found)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(), "maxItems": self.most}


@dataclass(frozen=True, slots=True)
class Entries:
    """An object with texts as values."""

    key: Text
    value: Text
    most: int

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not dict:
            return _mistyped("an object", value, field, found)
        if len(value) > self.most:
            found.append(Wrong(field, "out_of_range", f"must have at most {self.most} entries, got {len(value)}"))
            return None
        for key, one in value.items():
            path = member(field, key)
            self.key.read(key, path, found)
            self.value.read(one, path, found)
        return value

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": self.key.schema(),
            "additionalProperties": self.value.schema(),
            "maxProperties": self.most,
        }


@dataclass(frozen=True, slots=True)
class Anything:
    """An object whose inside is somebody else's."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        return value if type(value) is dict else _mistyped("an object", value, field, found)

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an object. `nullable`: null is the same as leaving it out."""

    kind: Kind
    nullable: bool = False
    required: bool = False
    default: Any = None  # for the description only
    description: str = ""

    def schema(self) -> dict[str, Any]:
        made = {"anyOf": [self.kind.schema(), {"type": "null"}]} if self.nullable else self.kind.schema()
        if self.default is not None or self.nullable:
            made["default"] = self.default
        return {**made, "description": self.description} if self.description else made


def object_schema(fields: Mapping[str, Field], description: str) -> dict[str, Any]:
    """JSON Schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "description": description,
        "properties": {name: field.schema() for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
        "additionalProperties": False,
    }
