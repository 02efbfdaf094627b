"""An outcome that the store never takes does not cost its worker the link for ever."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from actors.coordinator.completer import REMEMBERED, STRIKES, Completer
from actors.model.columns import Outcome, Outcomes, Verdict
from actors.model.errors import StorageError
from actors.model.link import Committed
from actors.model.worker import Held
from tests.unit.coordinator.test_completer import POISON, Peer, Store, report, run


class Picky(Store):
    """Takes a failure in place of the outcome that it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[int] = []

    async def complete(self, outcomes: Outcomes) -> list[Verdict]:
        if outcomes.ids == [POISON] and outcomes.kinds == [Outcome.FAILED_FINAL]:
            self.failures += outcomes.ids
            return [Verdict.ACCEPTED]
        return await super().complete(outcomes)


async def send(store: Store, completer: Completer) -> Peer:
    peer = Peer(1)
    completer.take(peer.link, report(1, 5, POISON, 6))
    await run(completer)
    return peer


@pytest.mark.parametrize("trouble", [StorageError("an internal error"), TypeError("a mistake")])
async def test_the_third_time_it_is_set_aside_with_a_failure_in_its_place(
    autojump_clock: MockClock, trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = Picky()
    store.trouble = trouble
    completer = Completer(store)  # type: ignore[arg-type]
    for _ in range(STRIKES - 1):
        assert (await send(store, completer)).link.scope.cancel_called
    last = await send(store, completer)
    assert not last.link.scope.cancel_called
    assert last.told.receive_nowait() == Committed(1, [Verdict.ACCEPTED] * 3)
    assert store.failures == [POISON]
    assert [6] in store.groups  # what came after it in the same report
    assert completer.set_aside == 1
    loud = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert f"task {POISON}" in loud[0]


async def test_what_the_store_takes_in_no_shape_is_refused(autojump_clock: MockClock) -> None:
    store = Store()
    completer = Completer(store)  # type: ignore[arg-type]
    for _ in range(STRIKES):
        peer = await send(store, completer)
    assert peer.told.receive_nowait() == Committed(1, [Verdict.ACCEPTED, Verdict.FENCED, Verdict.ACCEPTED])


async def test_strikes_are_remembered_for_so_many_only() -> None:
    completer = Completer(Store())  # type: ignore[arg-type]
    for task in range(2 * REMEMBERED):
        assert completer._strike(Held(task, 1, b"k" * 16)) == 1
    assert len(completer._strikes) == REMEMBERED
    assert completer._strike(Held(2 * REMEMBERED - 1, 1, b"k" * 16)) == 2
