"""Every setting: its name, how its text is read, what would be right, and the reason for its default.

A key `x_y` is the variable CALLBOARD_X_Y, the flag --x-y and the entry `x_y` of callboard.toml.
DATABASE_URL and COORDINATOR_ADDRESS have no prefix, because other tools set them under these names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from actors.model.lease import PROFILES, LeaseTerms
from actors.model.wrong import printable
from api.settings_kinds import (
    ROLES,
    Seconds,
    Whole,
    addresses,
    apps,
    database_url,
    host,
    http_url,
    labels,
    names,
    one_of,
    path,
    roles,
    secret,
    short_name,
    switch,
    toml_types,
)  # fmt: skip

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

    @property
    def toml(self) -> tuple[type, ...]:
        """The types that it may have in callboard.toml."""
        return toml_types(self.parse)

    def shown(self, value: str) -> str:
        """The value as it may appear in a message."""
        if self.secret and "://" not in value:
            return "****"
        text = printable(mask(value)[: SHOWN + 1])
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def mask(text: str) -> str:
    """Passwords in URLs become ****, also in URLs that do not parse."""
    text = re.sub(r"(://[^:/@\s]*:).*@", r"\1****@", text)
    return re.sub(r"(?i)(password|secret|token)=[^&\s]*", r"\1=****", text)


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
        _key("host", host, "write a host name or an address"),
        _key("http_port", Whole(0, 65535), _PORT),
        _key("grpc_port", Whole(0, 65535), _PORT),
        _key("advertise", host, "write the host name or address under which other nodes reach this one"),
        _key(
            "coordinator_addresses",
            addresses,
            "write http://HOST:PORT, several separated by commas",
            variable="COORDINATOR_ADDRESS",
        ),
        _key("app", apps, "write module names or paths of Python files, separated by commas"),
        _key("workers", Whole(0, 256), "write a whole number from 0 to 256"),
        _key("slots", Whole(1, 10_000), "write a whole number from 1 to 10000"),
        _key("executors", Whole(1, 256), "write a whole number from 1 to 256"),
        _key("worker_name", short_name, "write a name of at most 150 printable characters"),
        _key("queues", names, "write queue names without spaces, separated by commas (nothing means every queue)"),
        _key("labels", labels, "write name=value pairs separated by commas, each name once"),
        _key("drain", Seconds(0, 86_400), "write seconds from 0 to 86400"),
        _key("cancel_grace", Seconds(0, 3_600), "write seconds from 0 to 3600"),
        _key("frozen_limit", Seconds(0, 31_536_000), "write seconds from 0"),
        _key("default_timeout", Seconds(0.001, 31_536_000), "write seconds above 0"),
        _key("keep_succeeded", Seconds(60, 3_153_600_000), "write seconds from 60"),
        _key("keep_unsuccessful", Seconds(60, 3_153_600_000), "write seconds from 60"),
        _key("keep_idempotency_keys", Seconds(60, 3_153_600_000), "write seconds from 60"),
        _key("priority_ageing", Seconds(1, 31_536_000), "write seconds from 1"),
        _key("token", secret, "write a secret of one line, in ASCII", secret=True),
        _key("insecure", switch, "write 1 or 0"),
        _key("migrate", switch, "write 1 (apply migrations at start) or 0"),
        _key("profile", one_of(*PROFILES), f"write one of {', '.join(PROFILES)}"),
        _key("log_level", one_of(*LOG_LEVELS), f"write one of {', '.join(LOG_LEVELS)}"),
        _key("log_format", one_of("text", "json"), "write text or json"),
        _key("output", one_of("table", "json"), "write table or json"),
        _key("api_url", http_url, "write http://HOST:PORT"),
        _key("ready_fd", Whole(3, 65_535), "write an open file descriptor"),
        _key("lifeline_fd", Whole(3, 65_535), "write an open file descriptor"),
        *(
            _key(name, Whole(1, 100), "write a whole number from 1 to 100")
            if name == "missed"
            else _key(name, Seconds(0.01, 3_600), "write seconds from 0.01 to 3600")
            for name in LEASE_KEYS
        ),
    )
}
BY_VARIABLE: Mapping[str, Key] = {key.variable: key for key in KEYS.values()}
# Read elsewhere than here, or set for children; known so that they are not taken for misspellings.
OTHER_VARIABLES = frozenset({"CALLBOARD_ENV_FILE", "CALLBOARD_CONFIG", "CALLBOARD_USER_PATH"})
