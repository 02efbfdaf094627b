"""The connection is lost when the answer of a commit was on its way: asking again posts nothing twice."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from actors.model.errors import StorageTimeout
from actors.model.schedule import CatchUp, Definition, Overlap
from storage.store import Store, open_store
from tests.integration.schedules.conftest import Book, plan
from tests.support.postgres import Server
from tests.system.bench.chaosproxy import Proxy, open_proxy

SOCKET = ".s.PGSQL.5432"
COMMIT = b"COMMIT;"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cb-proxy-") as name:  # a short one: the path of a socket has a limit
        yield Path(name)


@pytest.fixture
async def proxy(postgres_server: Server, folder: Path) -> AsyncIterator[Proxy]:
    async with open_proxy(folder / SOCKET, postgres_server.folder / SOCKET) as opened:
        yield opened


@pytest.fixture
async def lossy(proxy: Proxy, folder: Path, postgres_server: Server, database_url: str) -> AsyncIterator[Store]:
    """A store that reaches the server through the proxy."""
    url = database_url.replace(quote(str(postgres_server.folder)), quote(str(folder)))
    async with open_store(url) as store:
        await store.schedules.look()
        await store.schedules.create("warm", Definition(task={"name": "job"}, every=9e6), paused=False)
        yield store


async def test_a_firing_of_which_nobody_knows_the_outcome_is_asked_for_again(
    book: Book, lossy: Store, proxy: Proxy
) -> None:
    await book.add(since=125, catch_up=CatchUp.ALL)
    proxy.up(cut_at=COMMIT)
    await lossy.schedules.fire(plan, limit=10)
    assert proxy.cuts == 1
    await lossy.schedules.fire(plan, limit=10)
    assert await book.ledger() == [("fired", 1), ("fired", 1)]
    assert len(await book.unfinished()) == 2


async def test_what_waits_is_posted_once(book: Book, lossy: Store, proxy: Proxy) -> None:
    await book.add(since=125, catch_up=CatchUp.ALL, overlap=Overlap.QUEUE_ONE)
    await book.fire()
    [task] = await book.unfinished()
    await book.finish(task)
    proxy.up(cut_at=COMMIT)
    await lossy.schedules.post_waiting(limit=10)
    assert proxy.cuts == 1
    assert len(await book.unfinished()) == 1


async def test_creating_and_deleting_are_repeated_without_complaint(book: Book, lossy: Store, proxy: Proxy) -> None:
    proxy.up(cut_at=COMMIT)
    made = await lossy.schedules.create("new", Definition(task={"name": "job"}, every=60.0), paused=False)
    assert proxy.cuts == 1
    assert await book.schedules.get("new") == made
    proxy.up(cut_at=COMMIT)
    await lossy.schedules.delete("new")
    assert proxy.cuts == 2
    assert await book.schedules.get("new") is None


async def test_a_backfill_is_repeated_and_posts_each_slot_once(book: Book, lossy: Store, proxy: Proxy) -> None:
    made = await book.add(since=305, catch_up=CatchUp.NONE)
    proxy.up(cut_at=COMMIT)
    done = await lossy.schedules.backfill("s", made.anchor + timedelta(seconds=1), datetime.now(UTC), limit=100)
    assert proxy.cuts == 1
    assert (done.posted, done.already) == (0, 5)
    assert len(await book.unfinished()) == 5


async def test_a_trigger_is_never_repeated_and_says_so(book: Book, lossy: Store, proxy: Proxy) -> None:
    await book.add()
    proxy.up(cut_at=COMMIT)
    with pytest.raises(StorageTimeout):
        await lossy.schedules.trigger("s")
    assert len(await book.unfinished()) == 1
