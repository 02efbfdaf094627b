"""The stores under test: one over a PostgreSQL of its own, one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from storage.migrate import migrate
from storage.store import Store, open_store
from storage.url import parse_url
from tests.support.bench import Bench, Database
from tests.support.memory_bench import memory_bench
from tests.support.postgres import Server, empty_url, loop, postgres_server

__all__ = ["bench", "database", "database_url", "empty_url", "loop", "postgres_server", "store"]


TABLES = (
    "tasks", "attempts", "workers", "coordinators", "handlers", "lanes", "idempotency_keys", "unique_keys",
    "dependencies", "finished_parents", "workflows", "queues", "paused_names", "rates",
)  # fmt: skip
_ready: set[str] = set()  # addresses of schemas with our tables


@pytest.fixture
async def database_url(postgres_server: Server, loop: None) -> str:
    """One schema for all of these tests, emptied before each: making the tables takes longer than most of them."""
    url = postgres_server.url("conformance")
    if url not in _ready:
        await migrate(parse_url(url))
        _ready.add(url)
    cleaner = Database(parse_url(url))
    await cleaner.open()
    await cleaner.execute("SET lock_timeout = '2s'; " + "; ".join(f"DELETE FROM callboard_{table}" for table in TABLES))
    cleaner.close()
    return url


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(parse_url(database_url))
    await opened.open()
    yield opened
    opened.close()


@pytest.fixture
async def own_statistics(database: Database) -> AsyncIterator[None]:
    """For tests of plans: what a test does not analyse itself is not analysed."""
    await database.execute("ALTER TABLE callboard_tasks SET (autovacuum_enabled = off)")
    yield
    await database.execute("ALTER TABLE callboard_tasks RESET (autovacuum_enabled)")


@pytest.fixture
def postgres(store: Store, database: Database, database_url: str) -> Bench:
    """For what only PostgreSQL has: plans, locks between connections, raw SQL, notifications between nodes."""
    return Bench(database, store.tasks, store.dispatch, store.notifier, database_url)


@pytest.fixture
def memory() -> Bench:
    return memory_bench()


@pytest.fixture(params=["postgres", "memory"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Every store in turn: what is asked of it holds for each."""
    chosen: Bench = request.getfixturevalue(request.param)
    return chosen
