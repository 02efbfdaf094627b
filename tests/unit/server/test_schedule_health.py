"""Health and metrics tell of schedules that should have fired and have not."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.model.lease import TEST
from actors.model.schedule import Health
from actors.scheduler.cron import Cron
from api.server_health import SCHEDULES_EVERY, ServerHealth
from tests.support.fake_store import FakeWakeups


class Store:
    """As much of the store as health asks."""

    def __init__(self) -> None:
        self.overdue: tuple[str, ...] = ()
        self.looks = 0
        self.schedules = self.tasks = self
        self.notifier = SimpleNamespace(connected=True)

    @property
    def answered_at(self) -> float:
        return trio.current_time()

    def refusal(self, within: float) -> None:
        return None

    async def unserved(self, limit: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        return []

    async def oldest_snapshot(self) -> None:
        await trio.lowlevel.checkpoint()

    async def look(self) -> Health:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        now = datetime.now(UTC)
        return Health(now=now, next_at=None, waiting=False, overdue=len(self.overdue), names=self.overdue)


@pytest.fixture
def store() -> Store:
    return Store()


def health_of(store: Any) -> ServerHealth:
    health = ServerHealth(store, TEST)
    health.started = True
    return health


async def test_a_node_that_fires_none_sees_that_nobody_does(store: Store, autojump_clock: MockClock) -> None:
    health = health_of(store)
    store.overdue = ("nightly", "hourly")
    with trio.move_on_after(SCHEDULES_EVERY * 3):
        await health.run()
    assert 3 <= store.looks <= 4
    check = health.checks()["schedules"]
    assert check["status"] == "degraded"
    assert "2 should have fired" in check["detail"]
    assert "nightly, hourly" in check["detail"]
    assert health.metrics()["schedules_overdue"] == 2.0
    assert health.ready()[0]  # it takes part all the same


async def test_a_node_that_fires_them_tells_what_it_last_saw(store: Store, autojump_clock: MockClock) -> None:
    health = health_of(store)
    cron = health.cron = Cron(store, FakeWakeups(), steady=trio.current_time)  # type: ignore[arg-type]
    assert "schedules" not in health.checks()
    cron.health, cron.seen_at = await store.look(), trio.current_time()
    assert health.checks()["schedules"]["status"] == "ok"
    assert health.metrics()["schedules_overdue"] == 0.0


async def test_a_clock_that_jumped_is_told(store: Store, autojump_clock: MockClock) -> None:
    health = health_of(store)
    cron = health.cron = Cron(store, FakeWakeups(), steady=trio.current_time)  # type: ignore[arg-type]
    cron.health, cron.seen_at = await store.look(), trio.current_time()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    cron.guard.read(noon, 0.0)
    cron.guard.read(noon.replace(hour=13), 1.0)
    check = health.checks()["schedules"]
    assert check["status"] == "degraded"
    assert "jumped ahead by 3599 s" in check["detail"]
