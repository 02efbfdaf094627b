"""What a server node says of itself: what stops it from taking part, and what only people should know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock

from actors.model.errors import StorageUnavailable
from actors.model.lease import DEFAULT
from api.server_health import OLD, PEOPLE_EVERY, RED_AFTER, ServerHealth


class Store:
    def __init__(self) -> None:
        self.answered_at = trio.current_time()
        self.away = False
        self.refused: str | None = None
        self.names: list[str] = []
        self.snapshot: tuple[str, float] | None = None
        self.notifier = SimpleNamespace(connected=True)
        self.tasks = self.schedules = self

    def refusal(self, within: float) -> str | None:
        return self.refused

    async def probe(self) -> None:
        if self.away:
            raise StorageUnavailable("it is away")
        self.answered_at = trio.current_time()

    async def look(self) -> None:
        raise StorageUnavailable("it is away")  # schedules are looked at elsewhere

    async def unserved(self, limit: int) -> list[str]:
        if self.away:
            raise StorageUnavailable("it is away")
        return self.names[:limit]

    async def oldest_snapshot(self) -> tuple[str, float] | None:
        return self.snapshot


async def test_what_is_degraded_does_not_take_the_node_out(autojump_clock: MockClock) -> None:
    store: Any = Store()
    health = ServerHealth(store, DEFAULT)
    health.started = True
    async with trio.open_nursery() as nursery:
        await nursery.start(health.run)
        await trio.sleep(1)
        assert {check["status"] for check in health.checks().values()} == {"ok"}
        store.refused, store.names = "its disk is full", ["a.b", "c.d"]
        await trio.sleep(2 * PEOPLE_EVERY)
        checks = health.checks()
        assert (checks["database_writes"]["status"], checks["database_writes"]["detail"]) == (
            "degraded",
            "its disk is full",
        )
        assert checks["handlers"] == {
            "status": "degraded", "detail": "tasks wait, and no worker knows a.b, c.d", "age": None,
        }  # fmt: skip
        assert health.ready() == (True, "ready")
        assert health.metrics() == {"handlers_without_worker": 2.0, "oldest_snapshot_seconds": 0.0}
        store.names = []
        await trio.sleep(2 * PEOPLE_EVERY)
        assert health.checks()["handlers"]["status"] == "ok"
        nursery.cancel_scope.cancel()


async def test_a_transaction_that_keeps_dead_rows_is_named(autojump_clock: MockClock) -> None:
    store: Any = Store()
    health = ServerHealth(store, DEFAULT)
    health.started = True
    async with trio.open_nursery() as nursery:
        await nursery.start(health.run)
        for age, status in ((OLD - 1, "ok"), (OLD, "degraded")):
            store.snapshot = ("session 17 (psql, idle in transaction)", age)
            await trio.sleep(2 * PEOPLE_EVERY)
            check = health.checks()["dead_rows"]
            assert check["status"] == status
            assert health.metrics()["oldest_snapshot_seconds"] == age
        assert "session 17 (psql, idle in transaction) has been in one transaction for 60 s" in check["detail"]
        assert health.ready() == (True, "ready")
        store.snapshot = None
        await trio.sleep(2 * PEOPLE_EVERY)
        assert health.checks()["dead_rows"]["status"] == "ok"
        nursery.cancel_scope.cancel()


async def test_a_database_that_does_not_answer_takes_it_out(autojump_clock: MockClock) -> None:
    store: Any = Store()
    health = ServerHealth(store, DEFAULT)
    health.started = True
    async with trio.open_nursery() as nursery:
        await nursery.start(health.run)
        store.away = True
        await trio.sleep(2 * RED_AFTER)
        assert health.ready() == (False, "database_connection: it is away")
        store.away = False
        await trio.sleep(RED_AFTER)
        assert health.ready() == (True, "ready")
        nursery.cancel_scope.cancel()
