"""Migrations: applied once, by whoever comes first, never over something unknown."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

from actors.model.errors import StorageRefused, StorageUnavailable
from storage import migrate as module
from storage.migrate import LOCK, migrate, migrations, pending
from storage.url import parse_url
from tests.support.bench import Database
from tests.support.postgres import Server

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, trio
from actors.runtime.aio import open_loop
from storage.migrate import migrate
from storage.url import parse_url
async def main():
    async with open_loop():
        print(len(await migrate(parse_url(sys.argv[1]))))
trio.run(main)
"""


async def test_two_processes_apply_each_migration_once(empty_url: str, loop: None) -> None:
    command = [sys.executable, "-c", PROGRAM, empty_url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    counts: list[int] = []

    async def run() -> None:
        done = await trio.run_process(command, capture_stdout=True, env=environment, cwd=ROOT)
        counts.append(int(done.stdout))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            nursery.start_soon(run)
    assert sorted(counts) == [0, len(migrations())]
    assert await pending(parse_url(empty_url)) == []


async def test_a_second_run_does_nothing(database_url: str) -> None:
    assert await migrate(parse_url(database_url)) == []


@pytest.mark.bad_input("CF09")
async def test_a_newer_schema_is_refused(database_url: str, database: Database) -> None:
    await database.execute("INSERT INTO callboard_migrations (number, name, checksum) VALUES (9999, 'future', 'x')")
    for call in (migrate, pending):
        with pytest.raises(StorageRefused, match="migration 9999"):
            await call(parse_url(database_url))


async def test_a_changed_migration_is_refused(database_url: str, database: Database) -> None:
    await database.execute("UPDATE callboard_migrations SET checksum = 'x' WHERE number = 1")
    for call in (migrate, pending):
        with pytest.raises(StorageRefused, match="0001_initial was changed"):
            await call(parse_url(database_url))


@pytest.mark.bad_input("CF09")
async def test_all_is_pending_where_nothing_is(empty_url: str, loop: None) -> None:
    assert await pending(parse_url(empty_url)) == migrations()


async def test_a_stranger_that_holds_the_lock_is_not_waited_for_long(
    postgres_server: Server, database: Database
) -> None:
    elsewhere = parse_url(postgres_server.url(f"{database.url.schema}_more"))
    await database.execute("BEGIN")
    await database.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
    with trio.fail_after(5), pytest.raises(StorageUnavailable):
        await migrate(elsewhere)
    await database.execute("ROLLBACK")
    assert await migrate(elsewhere) == migrations()


@pytest.mark.bad_input("CF09")
async def test_a_failed_migration_leaves_nothing(
    postgres_server: Server, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = parse_url(postgres_server.url(f"{database.url.schema}_more"))
    broken = module.Migration(9000, "broken", "CREATE TABLE callboard_half (); SELECT nonsense")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), broken])
    with pytest.raises(StorageRefused):
        await migrate(elsewhere)
    assert await database.value("SELECT count(*) FROM pg_namespace WHERE nspname = $1", elsewhere.schema) == 0


async def test_the_wheel_s_files_are_numbered_without_gaps() -> None:
    assert [one.number for one in migrations()] == list(range(1, len(migrations()) + 1))
