"""Every setting: its name, how its text is read, what would be right, and the reason for its default.

A key `x_y` is the variable CALLBOARD_X_Y, the flag --x-y and the entry `x_y` of callboard.toml.
DATABASE_URL and COORDINATOR_ADDRESS have no prefix, because other tools set them under these names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from actors.model.lease import PROFILES, LeaseTerms

ROLES = ("scheduler", "coordinator", "api", "worker")
LOG_LEVELS = ("debug", "info", "warning", "error")
SHOWN = 200  # letters of a wrong value in a message
LEASE_KEYS = tuple(field.name for field in fields(LeaseTerms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting. `parse` raises ValueError; `wants` says what would have been right."""

    name: str
    parse: Callable[[str], Any]
    wants: str
    variable: str
    secret: bool = False  # never shown, and never handed to user code

    def shown(self, value: str) -> str:
        """The value as it may appear in a message."""
        if self.secret and "://" not in value:
            return "****"
        text = mask(value)
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def mask(text: str) -> str:
    """Passwords in URLs become ****, also in URLs that do not parse."""
    text = re.sub(r"(://[^:/@\s]*:).*@", r"\1****@", text)
    return re.sub(r"(?i)(password|secret|token)=[^&\s]*", r"\1=****", text)


def text(value: str) -> str:
    if any(ord(char) < 32 for char in value):
        raise ValueError
    return value


def switch(value: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return known[value.lower()] if value.lower() in known else _refuse()


def _refuse() -> bool:
    raise ValueError


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        number = float(value.removesuffix("s"))
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError
        return number

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError
        return value.lower()

    return parse


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


def labels(value: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in items(value)]
    if any(not name.strip() or not equals for name, equals, _ in pairs):
        raise ValueError
    return {name.strip(): word.strip() for name, _, word in pairs}


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


def _key(
    name: str, parse: Callable[[str], Any], wants: str, *, variable: str | None = None, secret: bool = False
) -> Key:
    return Key(name=name, parse=parse, wants=wants, variable=variable or f"CALLBOARD_{name.upper()}", secret=secret)


_POSTGRES = "write postgresql://USER:PASSWORD@HOST:5432/DATABASE"
_PORT = "write a port from 0 to 65535 (0 takes a free one)"

KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        _key("roles", roles, f"write one or more of {', '.join(ROLES)}, separated by commas"),
        _key("database_url", database_url, _POSTGRES, variable="DATABASE_URL", secret=True),
        _key("direct_url", database_url, f"{_POSTGRES}, past the pooler", secret=True),
        _key("data", path, "write the path of a folder"),
        _key("host", text, "write a host name or an address"),
        _key("http_port", whole(0, 65535), _PORT),
        _key("grpc_port", whole(0, 65535), _PORT),
        _key("advertise", text, "write the host name or address under which other nodes reach this one"),
        _key(
            "coordinator_addresses",
            addresses,
            "write http://HOST:PORT, several separated by commas",
            variable="COORDINATOR_ADDRESS",
        ),
        _key("app", apps, "write module names or paths of Python files, separated by commas"),
        _key("workers", whole(0, 256), "write a whole number from 0 to 256"),
        _key("slots", whole(1, 10_000), "write a whole number from 1 to 10000"),
        _key("executors", whole(1, 256), "write a whole number from 1 to 256"),
        _key("worker_name", text, "write a short name"),
        _key("queues", items, "write queue names separated by commas (nothing means every queue)"),
        _key("labels", labels, "write name=value pairs separated by commas"),
        _key("drain", seconds(0, 86_400), "write seconds from 0 to 86400"),
        _key("cancel_grace", seconds(0, 3_600), "write seconds from 0 to 3600"),
        _key("default_timeout", seconds(0.001, 31_536_000), "write seconds above 0"),
        _key("token", text, "write a secret of one line", secret=True),
        _key("insecure", switch, "write 1 or 0"),
        _key("migrate", switch, "write 1 (apply migrations at start) or 0"),
        _key("profile", one_of(*PROFILES), f"write one of {', '.join(PROFILES)}"),
        _key("log_level", one_of(*LOG_LEVELS), f"write one of {', '.join(LOG_LEVELS)}"),
        _key("log_format", one_of("text", "json"), "write text or json"),
        _key("output", one_of("table", "json"), "write table or json"),
        _key("api_url", http_url, "write http://HOST:PORT"),
        _key("ready_fd", whole(3, 65_535), "write an open file descriptor"),
        _key("lifeline_fd", whole(3, 65_535), "write an open file descriptor"),
        *(
            _key(name, whole(1, 100), "write a whole number from 1 to 100")
            if name == "missed"
            else _key(name, seconds(0.01, 3_600), "write seconds from 0.01 to 3600")
            for name in LEASE_KEYS
        ),
    )
}
BY_VARIABLE: Mapping[str, Key] = {key.variable: key for key in KEYS.values()}
# Read elsewhere than here, or set for children; known so that they are not taken for misspellings.
OTHER_VARIABLES = frozenset({"CALLBOARD_ENV_FILE", "CALLBOARD_CONFIG", "CALLBOARD_USER_PATH"})
