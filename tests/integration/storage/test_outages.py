"""The database restarts, freezes, cuts connections, or is away: every call ends, and all goes on by itself."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio

from actors.model.columns import Outcome, Verdict
from actors.model.errors import StorageError, StorageTimeout, StorageUnavailable
from actors.model.ports import Submitted
from actors.model.task import NewTask
from storage.store import Store, open_store
from storage.url import parse_url
from tests.integration.storage.conftest import frozen
from tests.support.bench import LEASE, Bench
from tests.support.postgres import Server


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "crash"])
async def test_calls_survive_a_restart_or_say_so(
    bench: Bench, store: Store, postgres_server: Server, how: signal.Signals
) -> None:
    """Reads are repeated; a write succeeds or raises ours; what was answered is there afterwards."""
    errors: list[BaseException] = []
    stored: list[int] = []
    stop = trio.Event()

    async def read() -> None:
        while not stop.is_set():
            try:
                await store.tasks.stats()
            except StorageError as error:
                errors.append(error)
            await trio.sleep(0.005)

    async def write(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            try:
                answers = await store.tasks.submit(
                    [NewTask(name="demo", idempotency_key=f"{number}-{count}", request_hash=b"1")]
                )
                stored.extend(answer.id for answer in answers if isinstance(answer, Submitted))
            except StorageError as error:
                errors.append(error)
            await trio.sleep(0.002)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for number in range(3):
                nursery.start_soon(write, number)
            await trio.sleep(0.2)
            await trio.to_thread.run_sync(postgres_server.restart, how)
            back = trio.current_time()
            before = len(stored)
            while len(stored) < before + 10:
                await trio.sleep(0.01)
            assert trio.current_time() - back < 2
            stop.set()
    assert {type(error) for error in errors} <= {StorageUnavailable, StorageTimeout}
    async with open_store(bench.address) as fresh:
        for task_id in stored:
            assert await fresh.tasks.get(task_id) is not None


async def test_an_absent_server_is_no_reason_not_to_start(postgres_server: Server, database_url: str) -> None:
    await trio.to_thread.run_sync(postgres_server.stop)
    try:
        async with open_store(database_url) as store:
            began = time.monotonic()
            with pytest.raises(StorageUnavailable):
                await store.tasks.stats()
            with pytest.raises(StorageUnavailable):
                await store.dispatch.renew("c1", [], lease=LEASE, health={})
            assert time.monotonic() - began < 1
            await trio.to_thread.run_sync(postgres_server.start)
            with trio.fail_after(2):
                await store.tasks.stats()
    finally:
        if postgres_server.process is None:
            postgres_server.start()


async def test_a_frozen_server_holds_nobody_longer_than_the_limit(
    store: Store, bench: Bench, postgres_server: Server
) -> None:
    """Control answers within 2.5 s, the others later; and none of them hangs."""
    session = await bench.session()
    held = await bench.held(session)
    await store.tasks.stats()
    took: dict[str, float] = {}

    async def call(name: str, run: Callable[[], Awaitable[object]]) -> None:
        began = trio.current_time()
        with pytest.raises(StorageUnavailable):
            await run()
        took[name] = trio.current_time() - began

    async def renew() -> object:
        return await store.dispatch.renew("c1", [(session.id, 1, 0.0)], lease=LEASE, health={})

    async def complete() -> object:
        return await bench.end(held, Outcome.SUCCEEDED)

    with trio.fail_after(15):
        with frozen(postgres_server):
            async with trio.open_nursery() as nursery:
                for number in range(3):  # the third waits for a connection of its own
                    nursery.start_soon(call, f"renew {number}", renew)
                nursery.start_soon(call, "complete", complete)
        renewals = sorted(took[f"renew {number}"] for number in range(3))
        assert renewals[0] < 2 + 0.5 + 0.3  # on the connection that was there
        assert renewals[-1] < 2 + 0.5 + 3 + 0.3  # waited for a turn, then for a new connection
        assert took["complete"] < 6
        assert session.id in (await store.dispatch.renew("c1", [(session.id, 1, 0.0)], lease=LEASE, health={})).sessions
    assert await bench.end(held, Outcome.SUCCEEDED) in (Verdict.ACCEPTED, Verdict.ACCEPTED_BEFORE)


async def test_a_cut_listener_and_cut_pools_come_back(store: Store, bench: Bench, nursery: trio.Nursery) -> None:
    await nursery.start(store.notifier.run)
    due = store.notifier.subscribe("due")
    for number in range(3):
        await bench.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'callboard%' AND pid <> pg_backend_pid()"
        )
        with trio.fail_after(3):
            await bench.tasks.submit([NewTask(name="demo", idempotency_key=f"{number}", request_hash=b"1")])
            await due.receive()
    nursery.cancel_scope.cancel()


async def test_a_lock_held_by_a_stranger_is_a_clear_answer(store: Store, bench: Bench) -> None:
    held = await bench.held()
    await bench.database.execute("BEGIN")
    await bench.database.execute("SELECT FROM callboard_tasks FOR UPDATE")
    with trio.fail_after(5), pytest.raises(StorageUnavailable):
        await bench.end(held, Outcome.SUCCEEDED)
    await bench.database.execute("COMMIT")
    assert await bench.end(held, Outcome.SUCCEEDED) is Verdict.ACCEPTED


async def test_more_callers_than_connections_wait_their_turn(database_url: str) -> None:
    async with open_store(f"{database_url}&connection_limit=3") as store:
        done: Counter[str] = Counter()

        async def ask() -> None:
            await store.tasks.stats()
            done["stats"] += 1

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(ask)
        assert done["stats"] == 50


async def test_a_pool_that_stays_full_says_so(database_url: str, bench: Bench) -> None:
    async with open_store(f"{database_url}&connection_limit=3&pool_timeout=0.2") as store:
        await bench.put(1)
        await bench.database.execute("BEGIN")
        await bench.database.execute("LOCK TABLE callboard_workers")
        refused: list[str] = []

        async def ask() -> None:
            try:
                await store.tasks.workers()
            except StorageUnavailable as error:
                refused.append(str(error))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(ask)
        await bench.database.execute("ROLLBACK")
    assert sum("no free connection in pool api within 0.2 s" in text for text in refused) == 2


async def test_an_address_that_never_answers_is_given_up(loop: None) -> None:
    """192.0.2.0/24 is for documentation: nobody answers there, or the network refuses at once."""
    url = "postgresql://u:p@192.0.2.1:5432/db?connect_timeout=0.3"
    assert parse_url(url).connect_timeout == 0.3
    async with open_store(url) as store:
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await store.tasks.stats()
        assert time.monotonic() - began < 2
