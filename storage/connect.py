"""One connection with our settings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from actors.model.errors import StorageUnavailable
from storage.url import DatabaseUrl

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # generic in its stubs only

CONNECT_LIMIT = 3.0  # seconds for one connection, unless the URL says otherwise


async def connect(
    url: DatabaseUrl,
    name: str,
    statement_limit: float | None,
    limit: float,
    settings: Mapping[str, str] | None = None,
) -> Connection:
    """Asyncio-flavoured. Raises what asyncpg raises, and StorageUnavailable when nobody answers in time."""
    startup = {"application_name": name, "timezone": "UTC"}
    if not url.pgbouncer:  # a pooler refuses the others; the pool sets them in each transaction
        startup |= url.session_settings(statement_limit, settings or {})
        startup |= {
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "6000",
        }
    try:
        async with asyncio.timeout(limit):
            connection: Connection = await asyncpg.connect(
                **url.connect_arguments(),
                server_settings=startup,
                timeout=limit + 1,
                statement_cache_size=0 if url.pgbouncer else 200,
                max_cached_statement_lifetime=0,
            )
    except TimeoutError:
        raise StorageUnavailable(f"PostgreSQL at {url.host}:{url.port} did not answer within {limit:g} s") from None
    if connection.get_server_version() >= (14,) and not url.pgbouncer:
        with suppress(asyncpg.PostgresError):  # not every platform has it
            await connection.execute("SET client_connection_check_interval = 2000")
    return connection
