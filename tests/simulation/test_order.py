"""What makes runs repeatable, and nodes stand still."""

from __future__ import annotations

import trio
import trio.lowlevel
import trio.testing

from tests.simulation.order import Freezer, seeded, within
from tests.simulation.timeline import Timeline


async def shuffle(found: list[int]) -> None:
    async def one(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            found.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(one, number)


def order_of(seed: int) -> list[int]:
    found: list[int] = []
    with seeded(seed):
        trio.run(shuffle, found)
    return found


def test_equal_seeds_make_equal_orders_of_tasks() -> None:
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(20)}) > 10


async def test_a_frozen_node_does_nothing_and_finds_its_timers_over_when_it_thaws(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began = trio.current_time()
    woke: list[float] = []
    beside: list[float] = []

    async def sleeper(found: list[float]) -> None:
        await trio.sleep(1)
        found.append(trio.current_time() - began)

    freezer = Freezer()
    async with trio.open_nursery() as nursery:
        within(("w1",), nursery.start_soon, sleeper, woke)
        within(("w2",), nursery.start_soon, sleeper, beside)
        await trio.sleep(0.5)
        freezer.freeze("w1")
        await trio.sleep(4.5)
        assert (woke, beside) == ([], [1])
        freezer.thaw("w1")
    assert woke == [5]


async def test_what_is_sent_to_a_frozen_node_waits_for_it(autojump_clock: trio.testing.MockClock) -> None:
    send, receive = trio.open_memory_channel[str](1)
    heard: list[str] = []

    async def listen() -> None:
        async for word in receive:
            heard.append(word)

    freezer = Freezer()
    async with trio.open_nursery() as nursery:
        within(("w1", "w1#1"), nursery.start_soon, listen)
        await trio.testing.wait_all_tasks_blocked()
        freezer.freeze("w1#1")
        await send.send("word")
        await trio.sleep(1)
        assert heard == []
        freezer.thaw("w1#1")
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert heard == ["word"]
        send.close()


async def test_a_node_frozen_twice_goes_on_only_when_nothing_holds_it(autojump_clock: trio.testing.MockClock) -> None:
    freezer, done = Freezer(), trio.Event()

    async def work() -> None:
        await trio.sleep(1)
        done.set()

    async with trio.open_nursery() as nursery:
        within(("w1", "w1/1"), nursery.start_soon, work)
        await trio.sleep(0.5)
        freezer.freeze("w1")
        freezer.freeze("w1/1")
        await trio.sleep(1)
        freezer.thaw("w1")
        await trio.sleep(1)
        assert not done.is_set()
        freezer.thaw("w1/1")
        with trio.fail_after(1):
            await done.wait()


async def test_the_timeline_calls_at_the_time_and_in_the_order_of_asking(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timeline, called = Timeline(), []
    began = trio.current_time()

    def note(name: str) -> None:
        called.append((name, round(trio.current_time() - began, 3)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(timeline.run)
        timeline.after(2, lambda: note("third"))
        timeline.after(1, lambda: note("first"))
        timeline.after(1, lambda: note("second"))
        timeline.after(1, lambda: timeline.after(0.5, lambda: note("between")))
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert called == [("first", 1), ("second", 1), ("between", 1.5), ("third", 2)]
