"""The demo's job against a stand-in for the API: when it kills, whom, and how it waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import trio

from api.demo_job import Api, Job, Module, children, is_alive, is_child
from api.demo_report import View

MODULES = [Module(f"/lib/m{number}.py", f"m{number}") for number in range(10)]


class Board:
    """Finishes one task each time it is asked; a dead worker is lost after three questions."""

    def __init__(self, pid: int) -> None:
        self.pid, self.done, self.asked_since_death = pid, 0, 0
        self.posted: list[dict[str, Any]] = []
        self.running = 2

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        if request.method == "POST":
            return self._post(path, json.loads(request.content))
        if path == "/stats":
            self.done = min(self.done + bool(self.posted), len(MODULES))
            return httpx.Response(200, json={"tasks": {"succeeded": self.done, "queued": 10 - self.done}})
        if path == "/workers":
            return httpx.Response(200, json={"items": [self._worker()], "next_cursor": None})
        if path.endswith("/attempts"):
            return httpx.Response(200, json={"items": [LOST], "next_cursor": None})
        return self._tasks(request.url.params.get("cursor"))

    def _post(self, path: str, body: Any) -> httpx.Response:
        if path == "/tasks/batch":
            self.posted = body
            return httpx.Response(201, json={"ids": [str(number) for number in range(len(body))]})
        return httpx.Response(201, json={"id": "99", "state": "succeeded", "result": {"totals": {}}, "error": None})

    def _worker(self) -> dict[str, Any]:
        dead = not is_alive(self.pid)
        self.asked_since_death += dead
        state = "lost" if self.asked_since_death > 3 else "alive"
        return {"id": "w-1", "name": "w", "state": state, "running": self.running}

    def _tasks(self, cursor: str | None) -> httpx.Response:
        first = int(cursor or 0)
        items = [self._task(number) for number in range(first, first + 5)]
        return httpx.Response(200, json={"items": items, "next_cursor": None if first else "5"})

    def _task(self, number: int) -> dict[str, Any]:
        return {
            "id": str(number), "state": "succeeded", "attempt": 2 if number == 3 else 1, "worker": "w-2",
            "started_at": "2026-01-01T00:00:01Z", "assigned_at": None,
        }  # fmt: skip


LOST = {"attempt": 1, "outcome": "lost", "accepted": True, "worker": "w-1"}


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, "CALLBOARD_WORKER_NAME": "w"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environ) as process:
        yield process
        process.kill()


async def run(board: Board, up: int) -> dict[str, Any]:
    transport = httpx.MockTransport(board.answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://callboard/api/v1") as http:
        return await Job(Api(http), "http://callboard", up, MODULES, View()).run()


async def test_a_busy_worker_is_killed_and_its_failover_told(
    sleeper: subprocess.Popen[bytes], autojump_clock: trio.abc.Clock
) -> None:
    board = Board(sleeper.pid)
    facts = await run(board, os.getpid())
    assert sleeper.wait() == -signal.SIGKILL
    assert facts["ok"], facts["problems"]
    assert facts["tasks"] == len(board.posted) == 10
    assert facts["failover"]["reassigned"] == 1
    assert 0.33 <= facts["failover"]["finished_before"] / 10 < 0.7
    assert board.posted[0]["args"] == {"path": "/lib/m0.py", "module": "m0"}


async def test_an_idle_worker_is_left_alone(sleeper: subprocess.Popen[bytes], autojump_clock: trio.abc.Clock) -> None:
    board = Board(sleeper.pid)
    board.running = 0
    facts = await run(board, os.getpid())
    assert sleeper.poll() is None
    assert facts["problems"] == ["no worker was killed: none held a task at the right time"]


async def test_a_process_that_is_not_ours_is_never_killed(
    sleeper: subprocess.Popen[bytes], autojump_clock: trio.abc.Clock
) -> None:
    await run(Board(sleeper.pid), up=1)
    assert sleeper.poll() is None


def test_processes_are_told_apart(sleeper: subprocess.Popen[bytes]) -> None:
    assert is_child(sleeper.pid, os.getpid())
    assert sleeper.pid in children(os.getpid())
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(sleeper.pid)
