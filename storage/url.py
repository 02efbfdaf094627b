"""DATABASE_URL: what it may say, Prisma's parameters included."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from actors.model.errors import ConfigurationError

KNOWN = ("schema", "connection_limit", "pool_timeout", "connect_timeout", "sslmode", "pgbouncer", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrl:
    """The parts; `schema` is where everything of ours lives."""

    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    schema: str = "public"
    connection_limit: int | None = None
    pool_timeout: float | None = None  # seconds
    connect_timeout: float | None = None  # seconds
    sslmode: str | None = None
    pgbouncer: bool = False

    @property
    def search_path(self) -> str:
        return '"' + self.schema.replace('"', '""') + '"'

    def connect_arguments(self) -> dict[str, Any]:
        """Keyword arguments of asyncpg.connect."""
        arguments: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
        }
        if self.sslmode and not self.host.startswith("/"):
            arguments["ssl"] = self.sslmode if self.sslmode != "no-verify" else _unverified()
        return arguments

    def session_settings(self, statement_limit: float | None, more: Mapping[str, str]) -> dict[str, str]:
        """What every session of ours runs with; no statement limit is for migrations."""
        return {
            "search_path": self.search_path,
            "synchronous_commit": "on",
            "lock_timeout": "1000" if statement_limit else "2000",
            "idle_in_transaction_session_timeout": "5000",
            "jit": "off",
            "statement_timeout": str(int(statement_limit * 1000)) if statement_limit else "0",
            **more,
        }

    def local_settings(self, statement_limit: float | None, more: Mapping[str, str]) -> list[str]:
        """The same for one transaction, as statements. The values are ours, but for the schema, which is quoted."""
        return [
            f"SET LOCAL {name} = {value if name == 'search_path' else _literal(value)}"
            for name, value in self.session_settings(statement_limit, more).items()
        ]

    def __str__(self) -> str:
        secret = ":****" if self.password else ""
        return f"postgresql://{self.user}{secret}@{self.host}:{self.port}/{self.database}?schema={self.schema}"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def parse_url(text: str) -> DatabaseUrl:
    """Raises ConfigurationError that names the part, and never shows the password."""
    parts = urlsplit(text)
    problems: list[str] = []
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(
            [f'DATABASE_URL must begin with postgresql://, not with "{parts.scheme or text[:10]}"']
        )
    try:
        port = parts.port or 5432
    except ValueError:
        port = 5432
        problems.append("DATABASE_URL: the port must be a number from 1 to 65535")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in given:
        if name not in KNOWN:
            problems.append(f'DATABASE_URL: parameter "{name}" is not known here; known are {", ".join(KNOWN)}')
    schema = given.get("schema", "public")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]{0,62}", schema):
        problems.append(f'DATABASE_URL: schema "{schema[:64]}" must be a plain name of at most 63 letters, digits or _')
    numbers: dict[str, float] = {}
    for name in ("connection_limit", "pool_timeout", "connect_timeout"):
        if name in given:
            try:
                numbers[name] = float(given[name])
            except ValueError:
                problems.append(f'DATABASE_URL: {name} must be a number, not "{given[name][:32]}"')
    sslmode = given.get("sslmode")
    if sslmode not in (None, "disable", "allow", "prefer", "require", "verify-ca", "verify-full", "no-verify"):
        problems.append(f'DATABASE_URL: sslmode "{sslmode}" is not one of disable, allow, prefer, require, verify-full')
    if problems:
        raise ConfigurationError(problems)
    return DatabaseUrl(
        host=given.get("host") or unquote(parts.hostname or "localhost"),
        port=port,
        user=unquote(parts.username or "postgres"),
        password=unquote(parts.password) if parts.password else None,
        database=unquote(parts.path.lstrip("/")) or "postgres",
        schema=schema,
        connection_limit=int(numbers["connection_limit"]) or None if "connection_limit" in numbers else None,
        pool_timeout=numbers.get("pool_timeout") or None,
        connect_timeout=numbers.get("connect_timeout") or None,
        sslmode=sslmode,
        pgbouncer=given.get("pgbouncer", "").lower() in ("1", "true"),
    )
