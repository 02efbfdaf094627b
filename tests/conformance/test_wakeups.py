"""Hints between two nodes, through the database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from actors.model.columns import Outcome
from actors.model.task import NewTask
from storage.store import Store, open_store
from tests.support.bench import Bench


@pytest.fixture
def bench(postgres: Bench) -> Bench:
    """Notifications between nodes are PostgreSQL's."""
    return postgres


async def heard(channel: trio.MemoryReceiveChannel[None], within: float = 2.0) -> bool:
    with trio.move_on_after(within):
        await channel.receive()
        return True
    return False


@pytest.fixture
async def other(bench: Bench, store: Store, nursery: trio.Nursery) -> AsyncIterator[Store]:
    """Another node's store, listening; `bench` listens as well, so that it passes hints on."""
    async with open_store(bench.address) as second:
        await nursery.start(second.notifier.run)
        await nursery.start(store.notifier.run)
        with trio.fail_after(5):
            while not (second.notifier.connected and store.notifier.connected):
                await trio.sleep(0.01)
        yield second
        nursery.cancel_scope.cancel()


async def quiet(store: Store, topic: str) -> trio.MemoryReceiveChannel[None]:
    """A channel in which nothing waits."""
    channel = store.notifier.subscribe(topic)
    await trio.lowlevel.checkpoint()
    return channel


async def test_a_submission_wakes_other_nodes(bench: Bench, other: Store) -> None:
    due = await quiet(other, "due")
    await bench.tasks.submit([NewTask(name="demo", delay=100)])
    assert not await heard(due, 0.1)
    await bench.tasks.submit([NewTask(name="demo")] * 10)
    assert await heard(due)


async def test_a_cancel_and_a_pause_wake_the_coordinator(bench: Bench, other: Store) -> None:
    wishes = await quiet(other, "wishes")
    held = await bench.held()
    await bench.tasks.cancel(held.task_id)
    assert await heard(wishes)
    await bench.tasks.set_worker("w1", paused=True)
    assert await heard(wishes)


async def test_an_outcome_wakes_those_that_wait_elsewhere(bench: Bench, other: Store) -> None:
    final = await quiet(other, "final")
    await bench.end(await bench.held(), Outcome.SUCCEEDED)
    assert await heard(final)


async def test_what_comes_back_is_due_elsewhere(bench: Bench, other: Store) -> None:
    due = await quiet(other, "due")
    session = await bench.session()
    await bench.held(session)
    await bench.dispatch.close_session(session.id, session.epoch)
    await bench.dispatch.sweep(10, "c1", lease=None)
    assert await heard(due)


async def test_hints_coalesce(bench: Bench, other: Store) -> None:
    due = await quiet(other, "due")
    for _ in range(5):
        other.notifier.notify("due")
    assert await heard(due)
    assert not await heard(due, 0.05)


async def test_a_lost_listener_comes_back_and_hints_at_everything(bench: Bench, other: Store) -> None:
    channels = [await quiet(other, topic) for topic in ("due", "wishes", "final")]
    await bench.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'callboard listener'"
    )
    for channel in channels:
        assert await heard(channel, 5.0)
    await bench.tasks.submit([NewTask(name="demo")])
    assert await heard(channels[0])
