"""What becomes of statements on their way to the simulated database, and what their clients are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from actors.model.errors import StorageTimeout, StorageUnavailable
from tests.simulation.database import HOST, Client, Database, Trouble
from tests.simulation.dice import Dice
from tests.simulation.network import Network
from tests.simulation.timeline import Timeline


class Store:
    """Counts what was carried out."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.restarts = 0

    @property
    def dispatch(self) -> Store:
        return self

    @property
    def tasks(self) -> Store:
        return self

    async def claim(self) -> str:
        self.done.append("claim")
        return "claimed"

    async def renew(self) -> str:
        self.done.append("renew")
        return "renewed"

    def restart(self) -> None:
        self.restarts += 1


class Bench:
    def __init__(self, nursery: trio.Nursery) -> None:
        timeline = Timeline()
        nursery.start_soon(timeline.run)
        self.network = Network(timeline, Dice(1))
        self.store = Store()
        self.database = Database(self.store, timeline, self.network, Dice(2), nursery)
        self.client = Client(self.database, "c1", Dice(3))
        self.ask: Any = self.client.dispatch

    def trouble(self, name: str, **fates: float) -> None:
        self.database.troubles.append(Trouble(frozenset([name]), **fates))  # type: ignore[arg-type]


@asynccontextmanager
async def a_bench() -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        yield Bench(nursery)
        nursery.cancel_scope.cancel()


async def test_a_statement_is_carried_out_and_answered(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        assert await bench.ask.claim() == "claimed"
        assert bench.store.done == ["claim"]


async def test_a_lost_question_did_nothing_and_nobody_knows(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.trouble("claim", lose_question=1.0)
        with pytest.raises(StorageTimeout):
            await bench.ask.claim()
        assert bench.store.done == []


async def test_a_lost_answer_leaves_the_effect_and_nobody_knows(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.trouble("claim", lose_answer=1.0)
        with pytest.raises(StorageTimeout):
            await bench.ask.claim()
        assert bench.store.done == ["claim"]


async def test_what_may_be_repeated_is_asked_once_more(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.trouble("renew", lose_answer=1.0, left=1)
        assert await bench.ask.renew() == "renewed"
        assert bench.store.done == ["renew", "renew"]


async def test_a_refused_statement_did_nothing_and_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.trouble("claim", refuse=1.0)
        with pytest.raises(StorageUnavailable, match="refused") as caught:
            await bench.ask.claim()
        assert not isinstance(caught.value, StorageTimeout)
        assert bench.store.done == []


async def test_a_crash_drops_what_was_asked_and_not_done(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(StorageTimeout):
                await bench.ask.claim()

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        bench.database.crash()
        bench.database.start()
        await trio.sleep(10)
        assert (bench.store.done, bench.store.restarts) == ([], 1)


async def test_while_it_is_down_connections_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.database.crash()
        with pytest.raises(StorageUnavailable, match="refused"):
            await bench.ask.claim()


async def test_a_blocked_way_times_out_and_the_question_may_arrive_much_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    late = 0
    async with a_bench() as bench:
        for _ in range(20):
            bench.network.block("c1", HOST)
            with pytest.raises(StorageTimeout, match="within"):
                await bench.ask.claim()
            bench.network.unblock("c1", HOST)
            bench.database.unblock("c1")
            await trio.sleep(1)
            late += len(bench.store.done)
            bench.store.done.clear()
    assert 0 < late < 20


async def test_a_lock_holds_everything_up_to_the_limit_of_each(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.database.locked += 1
        with pytest.raises(StorageTimeout, match="gave up"):
            await bench.ask.claim()
        bench.database.unlock()
        await trio.sleep(1)
        assert bench.store.done == []
        assert await bench.ask.claim() == "claimed"


async def test_a_dead_node_is_heard_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.client.dead = True
        with pytest.raises(StorageTimeout):
            await bench.ask.claim()
        assert bench.store.done == []
