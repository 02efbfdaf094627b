"""How the text of a setting is read. Every reader raises ValueError; what would be right, the table of keys says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROLES = ("scheduler", "coordinator", "api", "worker")
MOST_LABELS = 64
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]+")


def text(value: str) -> str:
    if any(ord(char) < 32 for char in value):
        raise ValueError
    return value


def switch(value: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return known[value.lower()] if value.lower() in known else _refuse()


def _refuse() -> bool:
    raise ValueError


def _plain_number(value: str) -> str:
    """Python also reads digits of other scripts, and underscores within them; people mean neither."""
    if not value.isascii() or "_" in value:
        raise ValueError
    return value


@dataclass(frozen=True, slots=True)
class Whole:
    low: int
    high: int

    def __call__(self, value: str) -> int:
        number = int(_plain_number(value))
        if not self.low <= number <= self.high:
            raise ValueError
        return number


@dataclass(frozen=True, slots=True)
class Seconds:
    """Also with an s behind it."""

    low: float
    high: float

    def __call__(self, value: str) -> float:
        number = float(_plain_number(value).removesuffix("s"))
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise ValueError
        return number


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError
        return value.lower()

    return parse


def host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError
    return value


def secret(value: str) -> str:
    """Goes through a header."""
    if not value.isascii() or not value.isprintable():
        raise ValueError
    return value


def short_name(value: str) -> str:
    """With a random part behind it, it must be no longer than coordinators take."""
    if len(value) > 150 or not value.isprintable():
        raise ValueError
    return value


def items(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def apps(value: str) -> tuple[str, ...]:
    """Modules stay names; files become absolute paths, because other processes read them."""
    return tuple(str(path(app)) if app.endswith(".py") or "/" in app else app for app in items(value))


def roles(value: str) -> tuple[str, ...]:
    given = items(value)
    if not given or set(given) - set(ROLES):
        raise ValueError
    return tuple(role for role in ROLES if role in given)


def names(value: str) -> tuple[str, ...]:
    """Of queues, as handlers and submissions may give them."""
    found = items(value)
    if any(len(name) > 200 or not name.isprintable() or " " in name or "<" in name for name in found):
        raise ValueError
    return found


def labels(value: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in items(value)]
    if any(not name.strip() or not equals for name, equals, _ in pairs):
        raise ValueError
    made = {name.strip(): word.strip() for name, _, word in pairs}
    if len(made) != len(pairs) or len(made) > MOST_LABELS:
        raise ValueError
    if any(len(word) > 200 or not word.isprintable() for pair in made.items() for word in pair):
        raise ValueError
    return made


def path(value: str) -> Path:
    return Path(text(value)).expanduser().absolute()


def database_url(value: str) -> str:
    parts = urlsplit(value)
    _ = parts.port  # raises for a port that is no number
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError
    return value


def http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError
    return value.rstrip("/")


def addresses(value: str) -> tuple[str, ...]:
    return tuple(http_url(part) for part in items(value))


_IN_TOML: dict[Any, tuple[type, ...]] = {
    switch: (bool, int, str), items: (list, str), names: (list, str), apps: (list, str), roles: (list, str),
    addresses: (list, str), labels: (dict, str),
}  # fmt: skip


def toml_types(parse: Callable[[str], Any]) -> tuple[type, ...]:
    """The types that a setting may have in a file that has types."""
    if isinstance(parse, Whole):
        return (int,)
    return (int, float, str) if isinstance(parse, Seconds) else _IN_TOML.get(parse, (str,))
