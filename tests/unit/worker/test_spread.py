"""Assignments are cut so that equally free executors get equal work, and nothing is lost in the cutting."""

from __future__ import annotations

import pytest

from actors.model.columns import EXCLUSIVE, SOLO
from actors.worker.spread import alone, cut, partition, share
from tests.support.worker import an_assignment


@pytest.mark.parametrize(
    ("count", "rooms", "expected"),
    [
        (4, [5, 5], [2, 2]),
        (3, [5, 5], [2, 1]),
        (1, [0, 3], [0, 1]),
        (5, [1, 5, 3], [0, 4, 1]),
        (10, [2, 2], [5, 5]),  # beyond the slots: evenly
        (6, [-4, 2], [0, 6]),
        (8, [-4, 2], [1, 7]),
        (0, [3, 3], [0, 0]),
        (7, [3], [7]),
    ],
)
def test_the_freest_executors_get_work_first(count: int, rooms: list[int], expected: list[int]) -> None:
    assert share(count, rooms) == expected


def test_a_batch_for_one_executor_is_passed_on_as_it_is() -> None:
    whole = an_assignment(1, 2, 3)
    assert list(cut(whole, [0, 3])) == [None, whole]


def test_parts_hold_everything_in_order() -> None:
    whole = an_assignment(1, 2, 3, 4, 5)
    whole.sizes, whole.payloads = [2, 7, 2, 8, 2], b'{}{"a":1}{}{"b":22}{}'
    parts = [part for part in cut(whole, [2, 0, 3]) if part is not None]
    assert [part.ids for part in parts] == [[1, 2], [3, 4, 5]]
    assert [part.payloads for part in parts] == [b'{}{"a":1}', b'{}{"b":22}{}']
    assert all(sum(part.sizes) == len(part.payloads) for part in parts)


def test_killers_and_isolated_handlers_run_alone() -> None:
    whole = an_assignment(1, 2, 3, 4)
    whole.names, whole.name_index = ["quick", "render"], [0, 1, 0, 0]
    whole.flags = [0, 0, SOLO, EXCLUSIVE]
    solo, rest = partition(whole, alone(whole, frozenset({"render"})))
    assert solo is not None
    assert rest is not None
    assert (solo.ids, rest.ids) == ([2, 3], [1, 4])
    assert solo.payloads == rest.payloads == b"{}{}"
