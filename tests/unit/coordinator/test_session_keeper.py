"""The keeper's beat over a store of its own making: who judges, what is taken back, what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.coordinator.membership import Claim, Link, Membership
from actors.coordinator.sessions import SWEEP, SessionKeeper
from actors.model.errors import StorageUnavailable
from actors.model.lease import DEFAULT
from actors.model.link import Cancel, CoordinatorMessage
from actors.model.ports import Renewed, Swept, Wishes
from actors.model.worker import CoordinatorView, Held, Session, WorkerInfo

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
HELD = Held(7, 1, b"k" * 16)


class Store:
    """Answers at once; `swept` are the coming answers of the sweep."""

    def __init__(self) -> None:
        self.swept: list[Swept] = []
        self.leases: list[float | None] = []
        self.progress: list[tuple[int, int, str]] = []
        self.away = False

    async def sign_in(self, *_: Any, **__: Any) -> list[CoordinatorView]:
        return []

    async def renew(
        self,
        coordinator_id: str,
        sessions: Sequence[tuple[int, int, float]],
        *,
        lease: float,
        health: Mapping[int, Any],
    ) -> Renewed:
        if self.away:
            raise StorageUnavailable("away")
        ids = frozenset(session for session, _, _ in sessions)
        return Renewed(ids, Wishes({}, frozenset(), frozenset()), STARTED)

    async def sweep(self, limit: int, coordinator_id: str, *, lease: float | None) -> Swept:
        self.leases.append(lease)
        return self.swept.pop(0) if self.swept else Swept(0, (), {})

    async def save_progress(self, values: Sequence[tuple[int, int, str]]) -> None:
        self.progress += values

    async def mark(self, accepted: Sequence[Held], started: Sequence[Held]) -> None: ...


class Bench:
    def __init__(self) -> None:
        self.store, self.membership = Store(), Membership()
        _, hints = trio.open_memory_channel[None](1)
        self.keeper = SessionKeeper("c1", "http://c", "1", self.store, self.membership, hints, DEFAULT)  # type: ignore[arg-type]
        outgoing, self.told = trio.open_memory_channel[CoordinatorMessage](10)
        now = trio.current_time()
        self.link = Link(
            session=Session(id=1, epoch=1, worker="w"), worker=WorkerInfo(id="w", name="w", slots=2), outgoing=outgoing,
            scope=trio.CancelScope(), peer="", handlers=frozenset(), connected_at=now, heard_at=now, beat_at=now,
        )  # fmt: skip
        self.link.claims[HELD.lease_key] = Claim(HELD.lease_key, now, {HELD.task_id: HELD.attempt})
        self.link.held = 1
        self.membership.add(self.link)

    async def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.link.heard_at = self.link.beat_at = trio.current_time()
            await self.keeper.run_once()
            await trio.sleep(DEFAULT.renewal)


async def test_nobody_is_judged_before_the_quiet_period_is_over(autojump_clock: MockClock) -> None:
    bench = Bench()
    await bench.beat(20)
    quiet = int(DEFAULT.quiet_period)
    assert set(bench.store.leases[:quiet]) == {None}
    assert set(bench.store.leases[quiet + 1 :]) == {DEFAULT.lease}


async def test_a_gap_begins_the_quiet_period_anew(autojump_clock: MockClock) -> None:
    bench = Bench()
    await bench.beat(15)
    assert bench.store.leases[-1] == DEFAULT.lease
    bench.store.away = True
    with pytest.raises(StorageUnavailable):
        await bench.beat()
    await trio.sleep(5)
    bench.store.away = False
    await bench.beat()
    assert bench.store.leases[-1] is None


async def test_a_conviction_is_swept_at_once(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.store.swept = [Swept(0, [5], {}), Swept(SWEEP, (), {}), Swept(3, (), {})]
    await bench.beat()
    assert len(bench.store.leases) == 3


async def test_what_was_taken_back_leaves_the_books_and_is_stopped(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.store.swept = [Swept(1, (), {1: [HELD], 99: [HELD]})]
    await bench.beat()
    assert (bench.link.held, bench.link.claims) == (0, {})
    assert bench.told.receive_nowait() == Cancel([HELD], "unacknowledged")


async def test_progress_is_handed_on_once(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.link.progress[(7, 1)] = '{"done": 1}'
    await bench.beat(2)
    assert bench.store.progress == [(7, 1, '{"done": 1}')]
