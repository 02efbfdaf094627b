"""Heavy tasks on the books of a link: they take as many slots as they weigh, and nothing in advance."""

from __future__ import annotations

import trio

from actors.model.columns import Assignment, Outcome
from actors.model.worker import Held
from tests.support.bench import outcomes
from tests.unit.coordinator.test_dispatcher import Worker

KEY = b"k" * 16


def heavy(ids: list[int], weights: list[int]) -> Assignment:
    count = len(ids)
    return Assignment(
        KEY, ids, [1] * count, ["noop"], [0] * count, [0] * count, [0] * count, [2] * count, b"{}" * count,
        weights=weights,
    )  # fmt: skip


async def test_they_take_their_slots_until_they_end() -> None:
    link = Worker("1", slots=10).link
    link.assign(heavy([1, 2], [4, 1]), 0.0)
    assert (link.held, link.room(0.0, 1e9)) == (5, 5)
    link.finished(outcomes([Held(1, 1, KEY)], Outcome.SUCCEEDED), 0.0)
    assert link.held == 1
    link.forget([Held(2, 1, KEY)])
    assert (link.held, link.claims) == (0, {})


async def test_taken_back_or_resumed_they_count_the_same() -> None:
    link = Worker("1", slots=10).link
    link.adopt([Held(1, 1, KEY, 4)], set(), 0.0)
    assert link.held == 4
    link.forget([Held(1, 1, KEY)])
    assert link.held == 0


async def test_what_weighs_more_than_the_worker_leaves_no_room() -> None:
    link = Worker("1", slots=4).link
    link.assign(heavy([1], [9]), 0.0)
    assert link.room(0.0, 1e9) == 0


async def test_nothing_is_given_in_advance_beside_them() -> None:
    link = Worker("1", slots=2).link
    now = trio.current_time()
    link.rate.add(now, 1_000)
    assert link.capacity(now) > 2
    link.assign(heavy([1], [2]), now)
    assert link.capacity(now) == 2
