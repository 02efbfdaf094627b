"""What a server node says of its own health, from facts that its actors leave behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import trio

from actors.coordinator.tree import Coordinator
from actors.model.errors import StorageError
from actors.model.lease import LeaseTerms
from actors.model.schedule import Health
from actors.runtime.periodic import pause
from actors.scheduler.cron import Cron
from storage.store import Store

log = logging.getLogger(__name__)

PEOPLE_EVERY = 10.0  # seconds between looks for what only people should know
NAMED = 20  # handlers that are named then
OLD = 60.0  # seconds for which one transaction may keep dead rows from being cleared away
PROBE_EVERY = 2.0  # seconds without any answer of the database after which it is asked
REFUSED_FOR = 5.0  # seconds that a refused write is told of: who has to write tries again each second
RED_AFTER = 5.0  # seconds without an answer after which the node is not ready
SCHEDULES_EVERY = 10.0  # seconds between two looks at schedules, on a node that fires none


class ServerHealth:
    """Checks as `GET /healthz` shows them: {"status": "ok" | "degraded" | "failed", "detail", "age"}.

    Degraded is for people: the node takes part all the same.
    """

    def __init__(self, store: Store, terms: LeaseTerms) -> None:
        self._store, self._terms = store, terms
        self._problem = "it has not answered yet"
        self.unserved: list[str] = []
        self._snapshot: tuple[str, float] | None = None  # the oldest one: whose, and its age
        self._looked_at = -1e9
        self.coordinator: Coordinator | None = None
        self.cron: Cron | None = None
        self._schedules: Health | None = None  # as last seen, on a node that fires none
        self._schedules_at = float("-inf")
        self.started = False  # everything runs
        self.stopping = False

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """The actor: asks the database when nobody else has had an answer from it for a while."""
        task_status.started()
        while True:
            if self._age() >= PROBE_EVERY:
                await self._probe()
            if trio.current_time() - self._looked_at >= PEOPLE_EVERY and self.started:
                self._looked_at = trio.current_time()
                await self._look_around()
            if self.started and self.cron is None and self._schedules_age() >= SCHEDULES_EVERY:
                await self._look_at_schedules()
            await pause(PROBE_EVERY)

    async def _probe(self) -> None:
        try:
            await self._store.probe()
        except StorageError as error:
            self._problem = str(error)

    async def _look_at_schedules(self) -> None:
        """A node without a scheduler sees as well that schedules do not fire: the last scheduler may be gone."""
        try:
            self._schedules = await self._store.schedules.look()
            self._schedules_at = trio.current_time()
        except StorageError as error:
            self._problem = str(error)

    def _schedules_age(self) -> float:
        return trio.current_time() - (self._schedules_at if self.cron is None else self.cron.seen_at)

    async def _look_around(self) -> None:
        try:
            self.unserved = await self._store.tasks.unserved(NAMED)
            self._snapshot = await self._store.oldest_snapshot()
        except StorageError as error:
            log.info("whether every handler has a worker, and dead rows are cleared away, is not known: %s", error)

    def _age(self) -> float:
        return trio.current_time() - self._store.answered_at

    def checks(self) -> dict[str, dict[str, Any]]:
        age = self._age()
        database_ok = age < RED_AFTER
        found: dict[str, dict[str, Any]] = {
            "database_connection": {
                "status": "ok" if database_ok else "failed",
                "detail": "it answers" if database_ok else self._problem,
                "age": None if age > 1e6 else round(age, 3),
            },
            "database_writes": self._writes_check(),
            "handlers": {
                "status": "degraded" if self.unserved else "ok",
                "detail": f"tasks wait, and no worker knows {', '.join(self.unserved)}" if self.unserved else "served",
                "age": None,
            },
            "dead_rows": self._dead_rows_check(),
            "wake_ups": {
                "status": "ok",  # a dead listener makes work slower; it never stops it
                "detail": "notifications arrive" if self._store.notifier.connected else "no listener: polling",
                "age": None,
            },
            "server_status": {
                "status": "ok" if self.started and not self.stopping else "failed",
                "detail": "stopping" if self.stopping else "running" if self.started else "starting",
                "age": None,
            },
        }
        schedules = self._schedules_check()
        if schedules is not None:
            found["schedules"] = schedules
        if self.coordinator is not None:
            found["coordinator_status"] = self._coordinator_check(self.coordinator)
        return found

    def _writes_check(self) -> dict[str, Any]:
        refusal = self._store.refusal(REFUSED_FOR)
        if refusal is not None:
            return {"status": "degraded", "detail": refusal, "age": None}
        lost = self.coordinator.sessions.acknowledged.shown(trio.current_time()) if self.coordinator else None
        return {"status": "degraded" if lost else "ok", "detail": lost or "none is refused", "age": None}

    def _dead_rows_check(self) -> dict[str, Any]:
        """A queue leaves many dead rows behind; while one old snapshot keeps them, everything grows slower."""
        who, age = self._snapshot or ("", 0.0)
        detail = f"{who} has been in one transaction for {age:.0f} s: until it ends, no dead row can be cleared away"
        old = age >= OLD
        return {"status": "degraded" if old else "ok", "detail": detail if old else "cleared away", "age": None}

    def _schedules_check(self) -> dict[str, Any] | None:
        """None: nobody has looked yet."""
        seen = self._schedules if self.cron is None else self.cron.health
        if seen is None:
            return None
        problem = self.cron.held if self.cron is not None else None
        if problem is None and seen.overdue:
            names = ", ".join(seen.names)
            problem = f"{seen.overdue} should have fired more than 60 s ago and have not: {names}"
        return {
            "status": "degraded" if problem else "ok",
            "detail": problem or "none is overdue",
            "age": round(self._schedules_age(), 3),
        }

    def _coordinator_check(self, coordinator: Coordinator) -> dict[str, Any]:
        ok, age = coordinator.sessions.database_ok, coordinator.sessions.database_age
        detail = f"{len(coordinator.membership)} workers are linked"
        why = f" ({coordinator.sessions.refusal})" if coordinator.sessions.refusal else ""
        return {
            "status": "ok" if ok else "failed",
            "detail": detail if ok else f"leases can't be renewed{why}; {detail}",
            "age": round(age, 3),
        }

    def ready(self) -> tuple[bool, str]:
        """Whether this node takes part; why not."""
        for name, check in self.checks().items():
            if check["status"] == "failed":
                return False, f"{name}: {check['detail']}"
        return True, "ready"

    def metrics(self) -> Mapping[str, float]:
        """Counters and gauges of this node's actors."""
        return {**self._schedule_metrics(), **self._coordinator_metrics()}

    def _schedule_metrics(self) -> Mapping[str, float]:
        seen = self._schedules if self.cron is None else self.cron.health
        found = {} if seen is None else {"schedules_overdue": float(seen.overdue)}
        if self.cron is not None:
            found |= {"schedule_tasks_total": float(self.cron.posted), "schedule_clock_jump": self.cron.guard.jump}
        return found

    def _coordinator_metrics(self) -> Mapping[str, float]:
        found = {
            "handlers_without_worker": float(len(self.unserved)),
            "oldest_snapshot_seconds": self._snapshot[1] if self._snapshot else 0.0,
        }
        if self.coordinator is None:
            return found
        return {
            **found,
            "links": float(len(self.coordinator.membership)),
            "lost_commits_total": float(self.coordinator.sessions.acknowledged.lost),
            "outcomes_set_aside_total": float(self.coordinator.completer.set_aside),
            **{
                f"outcomes_{verdict.name.lower()}_total": float(count)
                for verdict, count in self.coordinator.completer.counts.items()
            },
        }
