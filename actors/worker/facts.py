"""What a worker node says of itself: its four checks, whether it is ready, and what runs here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import trio

from actors.runtime.process_mark import this_process
from actors.worker.crew import Crew
from actors.worker.link import WorkerLink

BLOCKED = 5.0  # seconds of silence after which all executors together count as not processing
BACKLOG = 2.0  # seconds that assignments may wait for an executor before that is a failure


def check(status: str, detail: str, age: float | None = None) -> dict[str, Any]:
    """One check; `age` is seconds since it last succeeded, None when it never did or does not apply."""
    return {"status": status, "detail": detail, "age": None if age is None else round(max(0.0, age), 3)}


class Facts:
    """Reads the state of the actors; changes nothing but the state of the HTTP server, which it is told."""

    def __init__(self, crew: Crew, link: WorkerLink) -> None:
        self._crew, self._link = crew, link
        self._server: tuple[str, str, float | None] = ("unknown", "the HTTP server has not started", None)

    def server(self, ok: bool, detail: str) -> None:
        """The node's HTTP component says how it is."""
        last = trio.current_time() if ok else self._server[2]
        self._server = ("ok" if ok else "failed", detail, last)

    def checks(self) -> dict[str, dict[str, Any]]:
        status, detail, last = self._server
        age = None if last is None else 0.0 if status == "ok" else trio.current_time() - last
        return {
            "coordinator_connection": self._coordinator(),
            "task_processing_status": self._processing(),
            "database_connection": self._database(),
            "server_status": check(status, detail, age),
        }

    def _since_reply(self) -> float | None:
        last = self._link.state.last_reply
        return None if last is None else trio.current_time() - last

    def deaf(self) -> bool:
        """Connected, but nothing comes back."""
        age = self._since_reply()
        return self._link.state.connected and age is not None and age > self._link.lease.terms.silence / 2

    def _coordinator(self) -> dict[str, Any]:
        state, age = self._link.state, self._since_reply()
        if state.rejected is not None:
            return check("failed", f"refused: {state.rejected}", age)
        if not state.connected:
            return check("failed", "not connected; trying again", age)
        if age is not None and age > self._link.lease.terms.silence:
            return check("failed", f"{state.coordinator} has not answered for {age:.1f} s", age)
        frozen = ", which can't renew leases at present" if state.frozen else ""
        return check("ok", f"session {state.session} at {state.coordinator}{frozen}", age)

    def _database(self) -> dict[str, Any]:
        state = self._link.state
        if state.database_ok is None or state.database_seen is None:
            return check("unknown", "no coordinator has said yet")
        age = trio.current_time() - state.database_seen
        if not state.connected:
            return check("unknown", "no coordinator is connected that could say", age)
        if not state.database_ok:
            return check("failed", f"the coordinator's database has not answered for {age:.1f} s", age)
        return check("ok", "answers the coordinator", age)

    def _processing(self) -> dict[str, Any]:
        crew, now = self._crew, trio.current_time()
        up = [executor for executor in crew.executors if executor.up]
        silent = [executor.silent_for(now) for executor in up]
        restarts = sum(executor.node.restarts_total for executor in crew.executors)
        age = None if crew.last_done is None else now - crew.last_done
        detail = (
            f"{len(up)} of {len(crew.executors)} executors up, {restarts} restarts, {crew.held} attempts here, "
            f"longest silence {max(silent, default=0.0):.1f} s"
        )
        if not up:
            return check("failed", f"no executor is up: {detail}", age)
        if crew.waits_since is not None and now - crew.waits_since > BACKLOG:
            return check("failed", f"{crew.waiting} attempts wait and are not taken: {detail}", age)
        if min(silent) > BLOCKED:
            return check("failed", f"no executor answers: {detail}", age)
        return check("ok", detail, age)

    def ready(self) -> tuple[bool, str]:
        """Whether work sent here is done, and why not."""
        link = self._link
        if link.draining:
            return False, "draining: nothing new is taken"
        coordinator, processing = self._coordinator(), self._processing()
        if coordinator["status"] != "ok":
            return False, f"coordinator: {coordinator['detail']}"
        if self.deaf():
            return False, f"deaf: nothing heard from {link.state.coordinator} for {self._since_reply():.1f} s"
        if link.state.frozen:
            return False, f"frozen: {self._database()['detail']}; what runs goes on, nothing is started"
        if processing["status"] != "ok":
            return False, processing["detail"]
        return True, "paused: takes nothing new" if link.state.paused else "takes work"

    def health(self) -> Mapping[str, Any]:
        """What each heartbeat carries."""
        crew = self._crew
        return {
            "status": {name: one["status"] for name, one in self.checks().items()},
            "deaf": self.deaf(),
            "executors": sum(executor.up for executor in crew.executors),
            "restarts": sum(executor.node.restarts_total for executor in crew.executors),
            "executor_lag": round(max((executor.lag for executor in crew.executors), default=0.0), 3),
            "waiting": crew.waiting,
            "unacknowledged": self._link.ledger.unacknowledged,
            "descriptors": descriptors(),
            **this_process(),
        }

    def running(self) -> list[dict[str, Any]]:
        """Every attempt that is here, the oldest first; `since` is seconds since it started, or came."""
        now, found = trio.current_time(), list[dict[str, Any]]()
        for executor in self._crew:
            books = executor.books
            for task, entry in books.held.items():
                begun = books.started.get(task)
                found.append(
                    {
                        "id": task,
                        "attempt": entry.attempt,
                        "name": entry.name,
                        "since": round(now - (entry.batch.given_at if begun is None else begun), 3),
                        "state": "queued" if begun is None else "running",
                        "serving": task in books.servers,
                    }
                )
        for since, task, attempt, name in self._crew.unstarted():
            age = round(now - since, 3)
            found.append(
                {"id": task, "attempt": attempt, "name": name, "since": age, "state": "queued", "serving": False}
            )
        return sorted(found, key=lambda one: -one["since"])

    def server_of(self, task_id: int) -> tuple[int, str] | None:
        """(attempt, unix socket) of the task's own HTTP server."""
        for executor in self._crew:
            path = executor.books.servers.get(task_id)
            if path is not None:
                return executor.books.held[task_id].attempt, path
        return None


def descriptors() -> int | None:
    """How many this process has open; a leak shows here first."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None
