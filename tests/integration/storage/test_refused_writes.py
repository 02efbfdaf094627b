"""A database that is full or read-only says so in our words, and is used again when it takes writes."""

from __future__ import annotations

import pytest
import trio

from actors.model.errors import StorageUnavailable, WritesRefused
from actors.model.task import NewTask
from storage.migrate import migrate
from storage.store import Store, open_store
from storage.url import parse_url
from tests.support.bench import Database

TASK = NewTask(name="job", args="{}")
FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON callboard_tasks EXECUTE FUNCTION full_disk()
"""


async def test_a_full_disk_is_told_and_then_forgotten(database_url: str) -> None:
    database = Database(parse_url(database_url))
    await database.open()
    await migrate(parse_url(database_url))
    async with open_store(database_url) as store:
        await database.execute(FULL)
        with pytest.raises(WritesRefused, match="disk is full: make room there"):
            await store.tasks.submit([TASK])
        assert "disk is full" in str(store.refusal(5.0))
        await store.probe()  # it answers
        await database.execute("DROP TRIGGER full_disk ON callboard_tasks")
        [answer] = await store.tasks.submit([TASK])
        assert not isinstance(answer, Exception)
        assert store.refusal(0.0) is None
    database.close()


async def test_a_read_only_database_is_told_and_used_again_afterwards(database_url: str) -> None:
    url = parse_url(database_url)
    database = Database(url)
    await database.open()
    await migrate(url)
    name = await database.value("SELECT quote_ident(current_database())")
    try:
        async with open_store(database_url) as store:
            session = await store.tasks.submit([TASK])
            assert session
            await database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await drop_connections(database, store)
            with pytest.raises(WritesRefused, match="read-only"):
                await store.tasks.submit([TASK])
            with pytest.raises(StorageUnavailable):
                await store.dispatch.sign_in("c1", "http://c", "1", ttl=10.0)
            assert await store.tasks.stats()  # reading goes on
            assert "read-only" in str(store.refusal(5.0))
            await database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            await store.tasks.submit([TASK])
    finally:
        await database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        database.close()


async def drop_connections(database: Database, store: Store) -> None:
    """All but this one: the setting holds for new ones. Returns when the pools have noticed."""
    rows = await database.fetch(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'callboard%'"
    )
    with trio.fail_after(10):
        while any(pool.owns(row["pid"]) for pool in store._pools for row in rows):
            await trio.sleep(0.01)
