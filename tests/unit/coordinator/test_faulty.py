"""A task at which every claim fails is found and set aside; a mistake that fails at every task empties nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.coordinator.dispatcher import MOST_ARGS
from actors.coordinator.faulty import FAILURES, MOST, PERIOD, SEARCH, WITHIN, Faults
from actors.model.errors import StorageError, StorageRefused, StorageUnavailable
from actors.model.ports import Claimed
from tests.unit.coordinator.test_dispatcher import Numbers, Room, tasks


class Broken(Numbers):
    """Hands out numbers one by one; some of them make a claim fail."""

    def __init__(self, *poison: int) -> None:
        super().__init__()
        self.waiting: list[int] = []
        self.poison = set(poison)
        self.aside: list[int] = []
        self.why: list[str] = []
        self.error: Exception = StorageError("an internal error")

    async def claim(
        self, *, lease_key: bytes, sessions: Sequence[Any], slots: Sequence[int], **_: Any
    ) -> tuple[list[Claimed], int]:
        await trio.lowlevel.checkpoint()
        self.claims.append(len(slots))
        got = self.waiting[: len(slots)]
        if self.poison & set(got):
            raise self.error
        self.waiting = self.waiting[len(got) :]
        return ([Claimed(slots[0], tasks(got, lease_key))] if got else []), len(got)

    async def set_aside(self, lane: int, lease_key: bytes, sessions: Sequence[int], why: str) -> int | None:
        await trio.lowlevel.checkpoint()
        self.aside.append(self.waiting.pop(0))
        self.why.append(why)
        return self.aside[-1]


async def after(store: Broken, seconds: float = 30.0) -> list[int]:
    """What a worker with much room has got by then."""
    room = Room()
    room.store, room.dispatcher._store = store, store  # type: ignore[assignment]
    async with trio.open_nursery() as nursery:
        worker = room.add("1", slots=100_000)
        await nursery.start(room.dispatcher.run)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return [task for one in worker.received() for task in one.ids]


@pytest.mark.parametrize("error", [StorageError("an internal error"), TypeError("a mistake of ours")])
async def test_the_task_at_fault_is_set_aside_and_all_others_are_claimed(
    autojump_clock: MockClock, error: Exception
) -> None:
    store = Broken(4)
    store.waiting, store.error = list(range(1, 9)), error
    assert await after(store) == [1, 2, 3, 5, 6, 7, 8]
    assert store.aside == [4]
    assert str(error) in store.why[0]
    assert store.claims[:FAILURES] == [500] * FAILURES
    assert store.claims[FAILURES : FAILURES + 4] == [1] * 4
    assert store.claims[-1] == 500  # and goes on as before


@pytest.mark.parametrize("error", [StorageUnavailable("away"), StorageRefused("a person must act")])
async def test_a_database_that_is_away_or_refuses_sets_nothing_aside(
    autojump_clock: MockClock, error: Exception
) -> None:
    store = Broken(1)
    store.waiting, store.error = [1, 2], error
    assert await after(store) == []
    assert store.aside == []
    assert 1 not in store.claims


async def test_a_mistake_that_fails_at_every_task_sets_only_a_few_aside(autojump_clock: MockClock) -> None:
    store = Broken(*range(1, 101))
    store.waiting, store.error = list(range(1, 101)), TypeError("a mistake of ours")
    with pytest.raises(ExceptionGroup):  # its supervisor decides
        await after(store, 600)
    assert len(store.aside) == MOST


async def test_what_fails_no_more_is_searched_for_no_more(autojump_clock: MockClock) -> None:
    store = Broken(4)
    store.waiting = list(range(1, 9))

    async def recover() -> None:
        await trio.sleep(0.5)
        store.poison.clear()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(recover)
        assert await after(store) == list(range(1, 9))
    assert store.aside == []
    assert len(store.claims) < 60


async def test_arguments_that_can_not_travel_are_such_a_fault(autojump_clock: MockClock) -> None:
    class Large(Broken):
        async def claim(self, **asked: Any) -> tuple[list[Claimed], int]:
            shares, seen = await super().claim(**asked)
            for share in shares:
                if 2 in share.assignment.ids:
                    share.assignment.sizes[share.assignment.ids.index(2)] = MOST_ARGS + 1
                    self.waiting = share.assignment.ids + self.waiting  # they come back unacknowledged
            return shares, seen

    store = Large()
    store.waiting = [1, 2, 3]
    assert await after(store) == [1, 3]
    assert store.aside == [2]


# --- the rules by themselves ------------------------------------------------------------------------


def test_failures_within_a_minute_begin_a_search_that_ends() -> None:
    faults = Faults()
    for number in range(10):
        faults.failed(number * WITHIN)
        assert not faults.searching(number * WITHIN)
    for number in range(FAILURES):
        faults.failed(10 * WITHIN + number)
    began = 10 * WITHIN + FAILURES - 1
    assert faults.searching(began)
    assert not faults.searching(began + SEARCH)
    faults.found(began + 1)
    assert not faults.searching(began + 1)


def test_only_so_many_are_set_aside_within_an_hour() -> None:
    faults = Faults()
    for _ in range(MOST):
        assert faults.may_set_aside(0.0)
        faults.found(0.0)
    assert not faults.may_set_aside(PERIOD)
    assert faults.may_set_aside(PERIOD + 1)
