"""Migrations: numbered SQL files with checksums, forward only, one transaction each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files

import asyncpg
import trio_asyncio
from asyncpg import exceptions as pg

from actors.model.errors import StorageRefused
from storage.connect import CONNECT_LIMIT, Connection, connect
from storage.faults import translated
from storage.url import DatabaseUrl

Work = Callable[[Connection, DatabaseUrl], Awaitable[list["Migration"]]]

LOCK = 0x63616C6C626F6172  # "callboar": the advisory lock of whoever migrates


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def oldest(self) -> int:
        """The newest migration that a program must know to run on this schema: `-- oldest: NNNN` in its first line.

        A migration that only adds says the number before its own, so that programs of the release before go on, and
        start, while the others are replaced. Without that line only programs that know it run.
        """
        said = re.match(r"-- oldest: (\d{4})\n", self.text)
        return int(said[1]) if said else self.number

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All that this release knows, in order."""
    found = []
    for entry in (files("storage") / "migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def pending(url: DatabaseUrl) -> list[Migration]:
    """Trio-flavoured. What is not applied yet; raises StorageRefused when an applied file was changed."""
    return await _crossing(url, _pending)


async def migrate(url: DatabaseUrl) -> list[Migration]:
    """Trio-flavoured. Applies what is pending and returns it; raises StorageRefused when the role may not."""
    return await _crossing(url, _apply)


async def _crossing(url: DatabaseUrl, work: Work) -> list[Migration]:
    result: list[Migration] = await trio_asyncio.aio_as_trio(_with_connection)(url, work)
    return result


async def _with_connection(url: DatabaseUrl, work: Work) -> list[Migration]:
    connection: Connection | None = None
    try:
        connection = await connect(url, "callboard migrate", None, url.connect_timeout or CONNECT_LIMIT)
        return await work(connection, url)
    except (pg.InsufficientPrivilegeError, pg.ReadOnlySQLTransactionError) as error:
        raise StorageRefused(
            f"the database role may not migrate ({error}): run `callboard db migrate` with a role that owns the schema"
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise translated(error) from error
    finally:
        if connection is not None:
            connection.terminate()


async def _pending(connection: Connection, url: DatabaseUrl) -> list[Migration]:
    if await connection.fetchval("SELECT to_regclass('callboard_migrations')") is None:
        return migrations()
    rows = await connection.fetch(
        "SELECT number, checksum, coalesce(oldest, number) AS oldest FROM callboard_migrations"
    )
    applied = {row["number"]: row["checksum"] for row in rows}
    known = max(migration.number for migration in migrations())
    if newer := [row["number"] for row in rows if row["oldest"] > known]:
        raise StorageRefused(f"the database has migration {max(newer)}, this release knows up to {known}: upgrade")
    for migration in migrations():
        if migration.number in applied and applied[migration.number] != migration.checksum:
            raise StorageRefused(f"migration {migration.number:04}_{migration.name} was changed after it was applied")
    return [migration for migration in migrations() if migration.number not in applied]


async def _apply(connection: Connection, url: DatabaseUrl) -> list[Migration]:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", url.schema):
            await connection.execute(f"CREATE SCHEMA {url.search_path}")
        todo = await _pending(connection, url)
        if todo:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS callboard_migrations (number integer PRIMARY KEY, name text NOT NULL,"
                " checksum text NOT NULL, oldest integer, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
            )
        for migration in todo:
            await connection.execute(migration.text)
            await connection.execute(
                "INSERT INTO callboard_migrations (number, name, checksum, oldest) VALUES ($1, $2, $3, $4)",
                migration.number,
                migration.name,
                migration.checksum,
                migration.oldest,
            )
    return todo
