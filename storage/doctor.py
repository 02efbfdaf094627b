"""Whether a database is fit for us: what a node refuses to start on, what it warns of, and the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
import trio_asyncio

from actors.model.errors import StorageError, StorageRefused
from storage.connect import CONNECT_LIMIT, Connection, connect
from storage.faults import translated
from storage.migrate import pending
from storage.url import DatabaseUrl

NODE_CONNECTIONS = 13  # of one server node: its pools, and the one that listens
LEAST_NODES = 2  # that should find room beside everybody else
NOTIFY_LIMIT = 2.0  # seconds until one's own notification must have come back
CHECK_LIMIT = 3.0  # seconds for one question

FACTS = """
    SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only')::bool AS read_only,
           current_setting('server_version') AS version, current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync')::bool AS fsync, current_setting('full_page_writes')::bool AS full_page_writes,
           current_setting('max_connections')::int
               - current_setting('superuser_reserved_connections')::int AS connections
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check."""

    check: str
    status: Literal["ok", "warning", "refused"]
    detail: str
    way_out: str = ""

    def __str__(self) -> str:
        return f"{self.detail}: {self.way_out}" if self.way_out else self.detail


async def examine(url: DatabaseUrl, listen: DatabaseUrl | None) -> list[Finding]:
    """Trio-flavoured; every check. `listen` leads past a pooler; None: there is no such address."""
    try:
        found = await examine_server(url)
        found.append(await examine_schema(url))
    except StorageError as error:
        way_out = "start PostgreSQL, or correct DATABASE_URL"
        return [Finding("connection", "refused", str(error), way_out if "DATABASE_URL" not in str(error) else "")]
    found.append(await examine_notifications(listen))
    return [Finding("connection", "ok", f"{url.host}:{url.port} answers"), *found]


async def examine_server(url: DatabaseUrl) -> list[Finding]:
    """Trio-flavoured; what is judged before the schema is touched. Raises StorageUnavailable, StorageRefused."""
    return judge(await trio_asyncio.aio_as_trio(_facts)(url))


def refuse(findings: Sequence[Finding]) -> None:
    """Raises StorageRefused with all that forbids a start."""
    refused = [str(one) for one in findings if one.status == "refused"]
    if refused:
        raise StorageRefused("\n".join(refused))


def judge(facts: Mapping[str, Any]) -> list[Finding]:
    """Pure."""
    return [_writes(facts), *_durability(facts), _room(facts)]


def _writes(facts: Mapping[str, Any]) -> Finding:
    if facts["standby"]:
        way_out = "point DATABASE_URL at the primary, for example with several hosts behind one name that follows it"
        return Finding("writes", "refused", "this server is a standby, and takes no writes", way_out)
    if facts["read_only"]:
        way_out = "ALTER DATABASE … (or ROLE, or SYSTEM) RESET default_transaction_read_only"
        return Finding("writes", "refused", "this database is read-only", way_out)
    return Finding("writes", "ok", f"PostgreSQL {facts['version']}, a primary")


def _durability(facts: Mapping[str, Any]) -> list[Finding]:
    found = []
    if facts["synchronous_commit"] == "off":
        way_out = "let the pooler pass the setting on, or set synchronous_commit = on for this role"
        detail = "synchronous_commit is off although our sessions ask for on: what is acknowledged may be lost"
        found.append(Finding("durability", "refused", detail, way_out))
    for name in ("fsync", "full_page_writes"):
        if not facts[name]:
            detail = f"{name} is off: after a crash of the machine the database may be damaged, and tasks lost"
            found.append(Finding("durability", "warning", detail, f"set {name} = on in postgresql.conf and reload"))
    return found or [Finding("durability", "ok", "what is acknowledged is on disk")]


def _room(facts: Mapping[str, Any]) -> Finding:
    room, least = facts["connections"], LEAST_NODES * NODE_CONNECTIONS
    if room >= least:
        return Finding("connections", "ok", f"room for {room}; a server node takes up to {NODE_CONNECTIONS}")
    way_out = f"raise max_connections, or add connection_limit={max(3, room // LEAST_NODES - 1)} to DATABASE_URL"
    detail = f"room for {room} connections only; {LEAST_NODES} server nodes take up to {least}"
    return Finding("connections", "warning", detail, way_out)


async def examine_schema(url: DatabaseUrl) -> Finding:
    """Trio-flavoured. Raises StorageUnavailable."""
    try:
        lacking = await pending(url)
    except StorageRefused as error:
        return Finding("schema", "refused", str(error))
    if lacking:
        names = ", ".join(f"{one.number:04}_{one.name}" for one in lacking)
        way_out = "run `callboard db migrate`; nodes with CALLBOARD_MIGRATE=1 do it when they start"
        return Finding("schema", "warning", f"lacks {names}", way_out)
    return Finding("schema", "ok", "up to date")


async def examine_notifications(listen: DatabaseUrl | None) -> Finding:
    """Trio-flavoured. Whether our own notification comes back: not through a pooler that shares connections."""
    way_out = "set CALLBOARD_DIRECT_URL to an address without the pooler; until then everybody polls, once a second"
    if listen is None:
        return Finding("notifications", "warning", "a pooler is between, and nothing listens", way_out)
    try:
        heard = await trio_asyncio.aio_as_trio(_hear_ourselves)(listen)
    except StorageError as error:
        return Finding("notifications", "warning", str(error), way_out)
    if not heard:
        detail = f"our own notification did not come back within {NOTIFY_LIMIT:g} s"
        return Finding("notifications", "warning", detail, way_out)
    return Finding("notifications", "ok", "they arrive")


# --- asyncio-flavoured ----------------------------------------------------------------------------


async def _facts(url: DatabaseUrl) -> Mapping[str, Any]:
    connection: Connection | None = None
    try:
        connection = await connect(url, "callboard doctor", CHECK_LIMIT, url.connect_timeout or CONNECT_LIMIT)
        async with asyncio.timeout(CHECK_LIMIT), connection.transaction():
            if url.pgbouncer:
                await connection.execute(";".join(url.local_settings(CHECK_LIMIT, {})))
            row = await connection.fetchrow(FACTS)
        assert row is not None
        return dict(row)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translated(error) from error
    finally:
        if connection is not None:
            connection.terminate()


async def _hear_ourselves(url: DatabaseUrl) -> bool:
    connection: Connection | None = None
    heard = asyncio.Event()
    try:
        connection = await connect(url, "callboard doctor", CHECK_LIMIT, url.connect_timeout or CONNECT_LIMIT)
        async with asyncio.timeout(NOTIFY_LIMIT):
            await connection.add_listener("callboard_doctor", lambda *_: heard.set())
            await connection.execute("SELECT pg_notify('callboard_doctor', '')")
            await heard.wait()
    except TimeoutError:
        return False
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translated(error) from error
    finally:
        if connection is not None:
            connection.terminate()
    return heard.is_set()
