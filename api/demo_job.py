"""The demo's job: post, watch, kill one worker node, watch again, merge, judge. All through the HTTP API."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import trio

from api.demo_judge import Failover, Run, judge
from api.demo_report import View

POLL = 0.1
KILL_FROM = 0.33  # share of the tasks that are done when the worker is killed
PAGE = 200
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})
EXECUTORS_LIMIT = 2.0
LOST_LIMIT = 15.0


@dataclass(frozen=True, slots=True)
class Module:
    """One file and the name under which it is imported."""

    path: str
    name: str


class Api:
    """The few calls that the demo needs; raises httpx.HTTPError."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: Any) -> Any:
        return (await self._http.get(path, params=query)).raise_for_status().json()

    async def post(self, path: str, body: Any) -> Any:
        return (await self._http.post(path, json=body)).raise_for_status().json()

    async def all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """The items of every page."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(path, **query, **cursor)
            items += page["items"]
            if not page.get("next_cursor"):
                return items
            cursor = {"cursor": page["next_cursor"]}

    async def finals(self) -> Counter[str]:
        """How many tasks there are in each final state."""
        tasks = (await self.get("/stats"))["tasks"]
        return Counter({state: tasks[state] for state in FINAL if tasks.get(state)})


@dataclass(slots=True)
class Job:
    """One run."""

    api: Api
    url: str
    up: int  # process id of `callboard up`, whose children the nodes are
    modules: Sequence[Module]
    view: View
    tag: str = field(default_factory=lambda: f"demo-{secrets.token_hex(4)}")
    failover: Failover | None = None
    done: int = 0
    _before: Counter[str] = field(default_factory=Counter)

    def standing(self) -> str:
        return f"{self.done} of {len(self.modules)} tasks were finished"

    async def run(self) -> dict[str, Any]:
        """Everything in order; the facts of the run."""
        self._before = await self.api.finals()
        began = time.monotonic()
        await self._post()
        await self._watch()
        seconds = time.monotonic() - began
        merged = await self._merge()
        tasks = await self.api.all("/tasks", tag=self.tag, name="analyse", limit=PAGE)
        attempts = await self._attempts(tasks)
        workers = await self.api.all("/workers")
        report = merged["result"] if merged["state"] == "succeeded" else None
        run = Run(len(self.modules), tasks, attempts, workers, merged, seconds, self.failover)
        return judge(run) | {"report": report}

    async def _post(self) -> None:
        batch = [
            {"name": "analyse", "args": {"path": one.path, "module": one.name}, "tags": [self.tag]}
            for one in self.modules
        ]
        ids = (await self.api.post("/tasks/batch", batch))["ids"]
        self.view.event(f"Posted {len(ids)} tasks in one batch: one for each module file of the standard library")

    async def _watch(self) -> None:
        """Until all tasks are final; kills one worker on the way."""
        total = len(self.modules)
        while self.done < total:
            workers = await self.api.all("/workers")
            self.done = (await self.api.finals() - self._before).total()
            self.view.update(self.done, total, workers)
            if self.failover is None and self.done >= total * KILL_FROM:
                await self._kill(workers)
            elif self.failover is not None:
                self._look_for_victim(workers)
            await trio.sleep(POLL)
        with trio.move_on_after(LOST_LIMIT):
            while self.failover is not None and self.failover.lost is None:
                self._look_for_victim(await self.api.all("/workers"))
                await trio.sleep(POLL)

    async def _kill(self, workers: Sequence[Mapping[str, Any]]) -> None:
        """The busiest worker, if it holds tasks now."""
        victim = max(workers, key=lambda worker: int(worker["running"]), default=None)
        if victim is None:
            return
        pid = node_of(str(victim["name"]), self.up)
        if victim["state"] != "alive" or not victim["running"] or pid is None:
            return
        executors = children(pid)
        os.kill(pid, signal.SIGKILL)
        now = trio.current_time()
        self.failover = Failover(
            str(victim["id"]), victim["name"], pid, time.time(), now, self.done, int(victim["running"]), executors
        )
        self.view.event(
            f"Killed {victim['name']} with SIGKILL (process {pid}) at {self.done / len(self.modules):.0%}, "
            f"with {victim['running']} tasks in its hands"
        )
        with trio.move_on_after(EXECUTORS_LIMIT):
            while any(is_alive(one) for one in executors):  # noqa: ASYNC110 - others' children tell us nothing
                await trio.sleep(0.01)
            self.failover.executors_gone = trio.current_time() - now

    def _look_for_victim(self, workers: Sequence[Mapping[str, Any]]) -> None:
        failover = self.failover
        assert failover is not None
        state = next((worker["state"] for worker in workers if worker["id"] == failover.worker), "lost")
        if failover.lost is None and state == "lost":
            failover.lost = trio.current_time() - failover.clock
            self.view.event(f"{failover.name} is lost after {failover.lost:.1f} s; others take over what it held")

    async def _merge(self) -> dict[str, Any]:
        expected = (await self.api.finals() - self._before)["succeeded"]
        self.view.event("Posted the last task: it fetches all results and merges them")
        body = {"name": "merge_report", "args": {"url": self.url, "tag": self.tag, "expected": expected}}
        task: dict[str, Any] = await self.api.post("/tasks", body)
        while task["state"] not in FINAL:
            task = await self.api.get(f"/tasks/{task['id']}", wait=30)
        return task

    async def _attempts(self, tasks: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Of every task that was assigned more than once: how the attempts ended."""
        again = [str(task["id"]) for task in tasks if task["attempt"] > 1]
        return {one: await self.api.all(f"/tasks/{one}/attempts") for one in again}


def _status(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_child(pid: int, parent: int) -> bool:
    """Whether that process started this one."""
    status = _status(pid)
    return pid > 1 and bool(status) and status[1] == str(parent)


def node_of(worker: str, up: int) -> int | None:
    """The process of a worker node: only what our own `callboard up` started may be killed."""
    wanted = f"CALLBOARD_WORKER_NAME={worker}".encode()
    for pid in children(up):
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in variables:
            return pid
    return None


def is_alive(pid: int) -> bool:
    """A dead process that nobody has fetched yet is dead."""
    status = _status(pid)
    return bool(status) and status[0] not in "ZX"


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and is_child(int(name), pid)]
