"""The store under test, over a PostgreSQL of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from storage.store import Store, open_store
from storage.url import parse_url
from tests.support.bench import Bench, Database
from tests.support.postgres import database_url, empty_url, loop, postgres_server

__all__ = ["bench", "database", "database_url", "empty_url", "loop", "postgres_server", "store"]


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
def bench(store: Store, database: Database) -> Bench:
    return Bench(database, store.tasks, store.dispatch)
