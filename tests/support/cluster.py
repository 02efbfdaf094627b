"""Real node processes over a real database, for tests that start, kill and freeze them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import trio

from api.settings_keys import BY_VARIABLE
from callboard.launcher import USER_PATH, command

HANDLERS = Path(__file__).with_name("handlers.py")
READY_LIMIT = 30.0
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})


@dataclass
class Node:
    """One node process."""

    name: str
    process: trio.Process
    ready: dict[str, Any]

    @property
    def pid(self) -> int:
        return self.process.pid

    def executors(self) -> list[psutil.Process]:
        """Its children that run user code."""
        return [child for child in psutil.Process(self.pid).children() if "executor" in " ".join(child.cmdline())]

    def kill(self) -> None:
        self.process.kill()

    def freeze(self) -> list[int]:
        """SIGSTOP for the node and its executors; what `thaw` needs."""
        pids = [self.pid, *(one.pid for one in self.executors())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids


def thaw(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


@dataclass
class Cluster:
    """Nodes, the API and what the handlers wrote."""

    folder: Path
    database_url: str
    profile: str
    nursery: trio.Nursery
    nodes: dict[str, Node] = field(default_factory=dict)
    prefix: dict[str, list[str]] = field(default_factory=dict)  # by name: what its command line begins with
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=75, trust_env=False))

    # --- processes --------------------------------------------------------------------------------

    async def start(self, name: str, roles: str, **settings: Any) -> Node:
        """A node with these roles; returns when it says that it is ready."""
        told, tell = os.pipe()
        environ = {
            key: value
            for key, value in os.environ.items()
            if key not in BY_VARIABLE and not key.startswith("CALLBOARD_")
        }
        environ |= {
            "CALLBOARD_ENV_FILE": "", "CALLBOARD_CONFIG": "", "CALLBOARD_ROLES": roles, "CALLBOARD_READY_FD": str(tell),
            "CALLBOARD_HTTP_PORT": "0", "CALLBOARD_GRPC_PORT": "0", "CALLBOARD_PROFILE": self.profile,
            "CALLBOARD_DRAIN": "30" if "worker" in roles else "1",
            "CALLBOARD_LOG_LEVEL": "warning", "EVENTS": str(self.folder / "events"), USER_PATH: str(self.folder),
        }  # fmt: skip
        if roles != "worker":
            environ["DATABASE_URL"] = self.database_url
        environ |= {key.upper(): str(value) for key, value in settings.items()}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await trio.lowlevel.open_process(
                [*self.prefix.get(name, ()), *command("node")], env=environ, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=(tell,), process_group=0,
            )  # fmt: skip
        os.close(tell)
        node = self.nodes[name] = Node(name, process, {})
        node.ready = await self._hear(name, told)
        return node

    async def _hear(self, name: str, told: int) -> dict[str, Any]:
        os.set_blocking(told, False)
        line = b""
        try:
            with trio.fail_after(READY_LIMIT):
                while not line.endswith(b"\n"):
                    await trio.lowlevel.wait_readable(told)
                    part = os.read(told, 4096)
                    if not part:
                        raise AssertionError(f"{name} ended before it was ready:\n{self.log(name)}")
                    line += part
        finally:
            os.close(told)
        ready: dict[str, Any] = json.loads(line)
        return ready

    async def server(self, name: str = "server", roles: str = "scheduler,coordinator,api", **settings: Any) -> Node:
        node = await self.start(name, roles, **settings)
        if "api" in roles:
            self.http.base_url = httpx.URL(f"http://127.0.0.1:{node.ready['http']}/api/v1/")
        return node

    async def worker(self, name: str, *coordinators: Node, **settings: Any) -> Node:
        addresses = ",".join(f"http://127.0.0.1:{node.ready['grpc']}" for node in coordinators)
        given = {"callboard_executors": 1, "callboard_slots": 10, **settings}
        return await self.start(
            name, "worker", coordinator_address=addresses, callboard_worker_name=name,
            callboard_app=self.folder / "handlers.py", **given,
        )  # fmt: skip

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-4000:]

    # --- the API ----------------------------------------------------------------------------------

    async def get(self, path: str, **query: Any) -> Any:
        response = await self.http.get(path, params=query)
        assert response.is_success, response.text
        return response.json()

    async def post(self, path: str, body: Any = None) -> Any:
        response = await self.http.post(path, json=body)
        assert response.is_success, response.text
        return response.json()

    async def submit(self, name: str, **args: Any) -> int:
        return int((await self.post("tasks", {"name": name, "args": args}))["id"])

    async def batch(self, tasks: Sequence[dict[str, Any]]) -> list[int]:
        return [int(one) for one in (await self.post("tasks/batch", list(tasks)))["ids"]]

    async def task(self, task: int) -> dict[str, Any]:
        found: dict[str, Any] = await self.get(f"tasks/{task}")
        return found

    async def final(self, task: int, limit: float = 30) -> dict[str, Any]:
        """The task when it is final."""
        with trio.fail_after(limit):
            while True:
                found: dict[str, Any] = await self.get(f"tasks/{task}", wait=10)
                if found["state"] in FINAL:
                    return found

    async def until_running(self, task: int, limit: float = 15) -> None:
        """Until its start is in the database, which is some time after it has begun."""
        with trio.fail_after(limit):
            while (await self.task(task))["state"] != "running":
                await trio.sleep(0.02)

    async def workers(self, state: str = "alive") -> list[dict[str, Any]]:
        return [one for one in (await self.get("workers"))["items"] if one["state"] == state]

    async def until_workers(self, count: int, limit: float = 15) -> None:
        with trio.fail_after(limit):
            while len(await self.workers()) != count:
                await trio.sleep(0.05)

    # --- what the handlers wrote ------------------------------------------------------------------

    def events(self, kind: str | None = None, task: int | None = None) -> list[dict[str, Any]]:
        """In the order in which they were written."""
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [one for one in found if kind in (None, one["kind"]) and task in (None, one["task"])]

    async def until_started(self, tasks: Sequence[int], attempt: int = 1, limit: float = 15) -> list[dict[str, Any]]:
        """The first start of each task with this attempt or a later one."""
        with trio.fail_after(limit):
            while True:
                starts = [one for one in self.events("start") if one["attempt"] >= attempt]
                found = [next((one for one in starts if one["task"] == task), None) for task in tasks]
                if all(found):
                    return [one for one in found if one]
                await trio.sleep(0.02)


@asynccontextmanager
async def open_cluster(
    folder: Path, database_url: str, *, profile: str = "test", handlers: Path = HANDLERS
) -> AsyncIterator[Cluster]:
    """No node yet; whatever was started is stopped at the end."""
    shutil.copy(handlers, folder / "handlers.py")
    async with trio.open_nursery() as nursery:
        cluster = Cluster(folder, database_url, profile, nursery)
        try:
            async with cluster.http:
                yield cluster
        finally:
            with trio.CancelScope(shield=True):
                for node in cluster.nodes.values():
                    await _stop(node)


async def _stop(node: Node) -> None:
    if node.process.poll() is None:
        thaw([node.pid])
        node.process.terminate()
        with trio.move_on_after(5):
            await node.process.wait()
    if node.process.poll() is None:
        node.process.kill()
        await node.process.wait()
