"""One thing wrong with what somebody sent, and how input is shown in messages."""

from __future__ import annotations

import re
from typing import NamedTuple

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Wrong(NamedTuple):
    """Names the field, the value and the way out; the path of a nested field is like ``[3].args.items[0]``."""

    field: str
    code: str
    detail: str

    @property
    def line(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail


def shown(value: object, limit: int = 64) -> str:
    """Somebody's input in a message: escaped, and never long."""
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """The same text with escapes for what a terminal or a log would act upon."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def member(where: str, key: str) -> str:
    """The path of a member of an object."""
    if not _PLAIN_NAME.fullmatch(key):
        return f"{where}[{shown(key)}]"
    return f"{where}.{key[:64]}" if where else key[:64]


def json_kind(value: object) -> str:
    """What a JSON value is, in words."""
    names: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "true or false",
             int: "a number", float: "a fraction", type(None): "null"}  # fmt: skip
    return names.get(type(value), "something else")
