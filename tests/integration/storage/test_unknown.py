"""The connection is lost when the answer to a write was on its way: the repeat asks the table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from actors.model.columns import Outcome, Verdict
from actors.model.errors import StorageTimeout
from actors.model.ports import Submitted
from actors.model.task import NewTask
from storage.store import Store, open_store
from tests.support.bench import Bench
from tests.support.postgres import Server
from tests.system.bench.chaosproxy import Proxy, open_proxy

MARK = '{"mark": "of this submission"}'  # what the proxy knows its statement by


SOCKET = ".s.PGSQL.5432"


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
        await store.tasks.submit([NewTask(name="demo", delay=1000)])  # connected, statements prepared
        yield store


async def test_a_submission_with_a_key_is_found_again(bench: Bench, lossy: Store, proxy: Proxy) -> None:
    proxy.up(cut_at=MARK.encode())
    [answer] = await lossy.tasks.submit([NewTask(name="demo", args=MARK, idempotency_key="k", request_hash=b"1")])
    assert proxy.cuts == 1
    assert isinstance(answer, Submitted)
    rows = await bench.database.fetch("SELECT id FROM callboard_tasks WHERE run_at <= clock_timestamp()")
    assert [row["id"] for row in rows] == [answer.id]


async def test_a_submission_without_a_key_is_told_that_nobody_knows(bench: Bench, lossy: Store, proxy: Proxy) -> None:
    proxy.up(cut_at=MARK.encode())
    with pytest.raises(StorageTimeout):
        await lossy.tasks.submit([NewTask(name="demo", args=MARK)])
    assert await bench.database.value("SELECT count(*) FROM callboard_tasks") == 2


async def test_a_claim_is_never_repeated_and_can_be_asked_for(bench: Bench, lossy: Store, proxy: Proxy) -> None:
    ids = await bench.put(5)
    session, key, lane = await bench.session(), os.urandom(16), await bench.lane()
    sessions = [(session.id, session.epoch)]
    await lossy.dispatch.claim(
        lease_key=os.urandom(16), lanes=[-1], sessions=sessions, slots=[0], ack_window=5, claim_margin=2
    )
    proxy.up(cut_at=key)
    with pytest.raises(StorageTimeout):
        await lossy.dispatch.claim(
            lease_key=key, lanes=[lane], sessions=sessions, slots=[0] * 3, ack_window=5, claim_margin=2
        )
    [share] = await lossy.dispatch.claimed(key, sessions)
    assert share.assignment.ids == ids[:3]
    states = [(await bench.task(task))["state"] for task in ids]
    assert states == ["assigned"] * 3 + ["queued"] * 2


@pytest.mark.parametrize("kind", list(Outcome))
async def test_an_outcome_is_accepted_though_its_answer_was_lost(
    bench: Bench, lossy: Store, proxy: Proxy, kind: Outcome
) -> None:
    session = await bench.session()
    through = Bench(bench.database, lossy.tasks, lossy.dispatch, lossy.notifier, bench.address)
    await through.end(await bench.held(session), kind)
    held = await bench.held(session)
    proxy.up(cut_at=held.lease_key)
    assert await through.end(held, kind) is Verdict.ACCEPTED_BEFORE
    assert proxy.cuts == 1
    ends = [end for end in await bench.attempts(held.task_id) if end["attempt"] == held.attempt]
    assert len(ends) == (0 if kind is Outcome.SUCCEEDED else 1)
