"""Outcomes in groups: acknowledged after the commit, kept through outages, and no report costs another its answer."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.coordinator.completer import Completer
from actors.coordinator.membership import Link
from actors.model.columns import Outcome, Outcomes, Verdict
from actors.model.errors import StorageError, StorageUnavailable
from actors.model.link import Committed, CoordinatorMessage, Report
from actors.model.worker import Session, WorkerInfo

POISON = 666


class Store:
    """Accepts everything but `POISON`; `away` so many times before."""

    def __init__(self) -> None:
        self.away = 0
        self.trouble: Exception = StorageError("an internal error")
        self.groups: list[list[int]] = []

    async def complete(self, outcomes: Outcomes) -> list[Verdict]:
        await trio.lowlevel.checkpoint()
        if self.away:
            self.away -= 1
            raise StorageUnavailable("away")
        if POISON in outcomes.ids:
            raise self.trouble
        self.groups.append(list(outcomes.ids))
        return [Verdict.ACCEPTED] * len(outcomes)


class Peer:
    def __init__(self, number: int) -> None:
        outgoing, self.told = trio.open_memory_channel[CoordinatorMessage](10)
        self.link = Link(
            session=Session(id=number, epoch=1, worker="w"), worker=WorkerInfo(id="w", name="w", slots=2),
            outgoing=outgoing, scope=trio.CancelScope(), peer="", handlers=frozenset(), connected_at=0, heard_at=0,
            beat_at=0,
        )  # fmt: skip


def report(sequence: int, *ids: int) -> Report:
    count = len(ids)
    kinds = [int(Outcome.SUCCEEDED)] * count
    return Report(
        sequence, Outcomes([b"k" * 16], [0] * count, list(ids), [1] * count, kinds, [4] * count, b"null" * count)
    )


async def run(completer: Completer) -> None:
    """Until nothing is open."""
    async with trio.open_nursery() as nursery:
        await nursery.start(completer.run)
        with trio.fail_after(60):
            await completer.wait_idle()
        nursery.cancel_scope.cancel()


async def test_reports_that_wait_are_one_group_and_each_gets_its_own_answer(autojump_clock: MockClock) -> None:
    store, one, two = Store(), Peer(1), Peer(2)
    completer = Completer(store)  # type: ignore[arg-type]  # what it uses
    completer.take(one.link, report(5, 1, 2))
    completer.take(two.link, report(9, 3))
    await run(completer)
    assert store.groups == [[1, 2, 3]]
    assert one.told.receive_nowait() == Committed(5, [Verdict.ACCEPTED] * 2)
    assert two.told.receive_nowait() == Committed(9, [Verdict.ACCEPTED])


async def test_nothing_is_acknowledged_while_the_database_is_away_and_all_of_it_after(
    autojump_clock: MockClock,
) -> None:
    store, peer = Store(), Peer(1)
    store.away = 10
    completer = Completer(store)  # type: ignore[arg-type]
    completer.take(peer.link, report(1, 1))
    await run(completer)
    assert peer.told.receive_nowait() == Committed(1, [Verdict.ACCEPTED])


async def test_no_acknowledgement_leaves_before_the_commit(autojump_clock: MockClock) -> None:
    store, peer = Store(), Peer(1)
    told_before: list[int] = []
    commit = store.complete

    async def watched(outcomes: Outcomes) -> list[Verdict]:
        told_before.append(peer.told.statistics().current_buffer_used)
        return await commit(outcomes)

    store.away, store.complete = 3, watched  # type: ignore[method-assign]
    completer = Completer(store)  # type: ignore[arg-type]
    completer.take(peer.link, report(1, 1))
    await run(completer)
    assert told_before == [0] * 4


@pytest.mark.parametrize("trouble", [StorageError("an internal error"), TypeError("a mistake")])
async def test_a_report_that_cannot_be_stored_costs_its_own_link_and_nobody_elses_answer(
    autojump_clock: MockClock, trouble: Any
) -> None:
    store, bad, good = Store(), Peer(1), Peer(2)
    store.trouble = trouble
    completer = Completer(store)  # type: ignore[arg-type]
    completer.take(bad.link, report(1, POISON))
    completer.take(good.link, report(2, 7))
    await run(completer)
    assert good.told.receive_nowait() == Committed(2, [Verdict.ACCEPTED])
    assert bad.link.scope.cancel_called
    assert not good.link.scope.cancel_called
