"""A server that may be restarted, frozen and reconfigured, and roles of little power."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.store import Store, open_store
from storage.url import parse_url
from tests.support.bench import Bench, Database
from tests.support.postgres import Server, database_url, empty_url, loop, postgres_server

__all__ = ["bench", "database", "database_url", "empty_url", "frozen", "loop", "postgres_server", "store"]


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
def bench(store: Store, database: Database, database_url: str) -> Bench:
    return Bench(database, store.tasks, store.dispatch, store.notifier, database_url)


def processes(server: Server) -> list[int]:
    """The postmaster and its children."""
    assert server.process is not None
    found = [server.process.pid]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = re.search(r"^PPid:\t(\d+)$", status.read_text(), re.M)
        except OSError:
            continue
        if parent and int(parent[1]) == server.process.pid:
            found.append(int(status.parent.name))
    return found


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Every process of the server stands still: it neither answers nor closes anything."""
    stopped = processes(server)
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
