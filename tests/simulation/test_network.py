"""What the simulated network does to messages, and what it never does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from actors.model import link as wire
from actors.model.errors import LinkLost
from actors.model.lease import TEST
from tests.simulation.dice import Dice
from tests.simulation.network import Listener, Network
from tests.simulation.timeline import Timeline

ADDRESS = "http://c1:1"


class Bench:
    """A worker w1, a coordinator c1 that keeps what it hears, and the network between them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.timeline = Timeline()
        self.network = Network(self.timeline, Dice(1))
        self.heard: list[object] = []
        self.left = trio.Event()
        self.end: wire.CoordinatorEnd | None = None
        nursery.start_soon(self.timeline.run)
        self.network.listeners[ADDRESS] = Listener("c1", lambda run: nursery.start_soon(run), self.serve)
        self.dial = self.network.dialler("w1")

    async def serve(self, end: wire.CoordinatorEnd) -> None:
        self.end = end
        async for message in end.incoming:
            self.heard.append(message)
        self.left.set()

    async def until_heard(self, count: int) -> None:
        with trio.fail_after(5):
            while len(self.heard) < count:
                await trio.sleep(0.001)


@asynccontextmanager
async def a_bench() -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        yield Bench(nursery)
        nursery.cancel_scope.cancel()


def beat(number: int) -> wire.Heartbeat:
    return wire.Heartbeat(sequence=number, running=0, loop_lag=0.0)


async def test_messages_arrive_late_and_in_their_order(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench, bench.dial(ADDRESS, TEST) as end:
        began = trio.current_time()
        for number in range(50):
            await end.outgoing.send(beat(number))
        await bench.until_heard(50)
        assert bench.heard == [beat(number) for number in range(50)]
        assert trio.current_time() > began


async def test_a_blocked_way_keeps_what_it_was_given_until_it_is_free(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench, bench.dial(ADDRESS, TEST) as end:
        bench.network.block("w1", "c1")
        await end.outgoing.send(beat(1))
        await trio.sleep(60)
        assert bench.heard == []
        bench.network.unblock("w1", "c1")
        await bench.until_heard(1)


async def test_a_cut_of_one_way_leaves_the_other_open(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench, bench.dial(ADDRESS, TEST) as end:
        await end.outgoing.send(beat(1))
        await bench.until_heard(1)
        bench.network.block("w1", "c1")
        await end.outgoing.send(beat(2))
        assert bench.end is not None
        await bench.end.outgoing.send(wire.Pause(True))
        with trio.fail_after(1):
            assert await end.incoming.receive() == wire.Pause(True)
        assert bench.heard == [beat(1)]


async def test_a_reset_loses_what_is_on_its_way_and_tells_both_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        with pytest.raises(LinkLost, match="reset"):
            async with bench.dial(ADDRESS, TEST) as end:
                await end.outgoing.send(beat(1))
                bench.network.reset("w1", "c1")
                assert [message async for message in end.incoming] == []
        with trio.fail_after(1):
            await bench.left.wait()
        assert bench.heard == []


async def test_a_machine_that_loses_power_tells_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench, bench.dial(ADDRESS, TEST) as end:
        await end.outgoing.send(beat(1))
        await bench.until_heard(1)
        bench.network.kill("c1", silent=True)
        with trio.move_on_after(60) as waited:
            await end.incoming.receive()
        assert waited.cancelled_caught


async def test_nobody_listens_where_nobody_is(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench:
        bench.network.kill("c1", silent=False)
        with pytest.raises(LinkLost, match="refused"):
            async with bench.dial(ADDRESS, TEST):
                pass


async def test_what_may_be_repeated_comes_twice_and_nothing_else(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bench() as bench, bench.dial(ADDRESS, TEST) as end:
        bench.network.way("w1", "c1").repeats = 1.0
        await end.outgoing.send(beat(1))
        await end.outgoing.send(wire.Goodbye())
        await bench.until_heard(3)
        assert bench.heard == [beat(1), beat(1), wire.Goodbye()]
