"""What a server node says of its own health, from facts that its actors leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from actors.coordinator.tree import Coordinator
from actors.model.errors import StorageError
from actors.model.lease import LeaseTerms
from actors.runtime.periodic import pause
from storage.store import Store

PROBE_EVERY = 2.0  # seconds without any answer of the database after which it is asked
REFUSED_FOR = 5.0  # seconds that a refused write is told of: who has to write tries again each second
RED_AFTER = 5.0  # seconds without an answer after which the node is not ready


class ServerHealth:
    """Checks as `GET /healthz` shows them: {"status": "ok" | "degraded" | "failed", "detail", "age"}.

    Degraded is for people: the node takes part all the same.
    """

    def __init__(self, store: Store, terms: LeaseTerms) -> None:
        self._store, self._terms = store, terms
        self._problem = "it has not answered yet"
        self.coordinator: Coordinator | None = None
        self.started = False  # everything runs
        self.stopping = False

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """The actor: asks the database when nobody else has had an answer from it for a while."""
        task_status.started()
        while True:
            if self._age() >= PROBE_EVERY:
                await self._probe()
            await pause(PROBE_EVERY)

    async def _probe(self) -> None:
        try:
            await self._store.probe()
        except StorageError as error:
            self._problem = str(error)

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
        if self.coordinator is not None:
            found["coordinator_status"] = self._coordinator_check(self.coordinator)
        return found

    def _writes_check(self) -> dict[str, Any]:
        refusal = self._store.refusal(REFUSED_FOR)
        if refusal is not None:
            return {"status": "degraded", "detail": refusal, "age": None}
        lost = self.coordinator.sessions.acknowledged.shown(trio.current_time()) if self.coordinator else None
        return {"status": "degraded" if lost else "ok", "detail": lost or "none is refused", "age": None}

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
        if self.coordinator is None:
            return {}
        return {
            "links": float(len(self.coordinator.membership)),
            "lost_commits_total": float(self.coordinator.sessions.acknowledged.lost),
            "outcomes_set_aside_total": float(self.coordinator.completer.set_aside),
            **{
                f"outcomes_{verdict.name.lower()}_total": float(count)
                for verdict, count in self.coordinator.completer.counts.items()
            },
        }
