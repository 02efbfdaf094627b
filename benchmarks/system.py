"""`callboard up` with a data folder of its own, for measuring: the embedded PostgreSQL at its durable defaults."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from api.settings_keys import BY_VARIABLE
from callboard.launcher import USER_PATH, command

HANDLERS = '''
import os, time
from callboard import task

@task
async def noop(): pass

@task
async def stamp(sent: float):
    """Seconds from just before the submission to the first line of the handler."""
    now = time.time()
    with open(os.environ["BENCH_OUT"], "a") as file:
        file.write(f"{now - sent}\\n")
'''


class System:
    """One running system. `sql` talks to its database directly."""

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path, data: Path) -> None:
        self.process, self.url, self.folder, self.data = process, url, folder, data
        self.http = httpx.Client(base_url=f"{url}/api/v1", timeout=60, trust_env=False)
        self.database = cli("db", "url", "--data", str(data)).strip()

    def sql(self, query: str, *args: Any) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.database)
            try:
                return list(await connection.fetch(query, *args))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/workers").raise_for_status().json()["items"]
        return [one for one in found if one["state"] in ("alive", "paused")]

    def steer(self, verb: str) -> None:
        for worker in self.workers():
            self.http.post(f"/workers/{worker['id']}/{verb}").raise_for_status()

    def pause(self) -> None:
        self.steer("pause")
        wait_for(lambda: all(one["state"] == "paused" for one in self.workers()), 10)

    def post(self, name: str, count: int, chunk: int = 10_000) -> None:
        for start in range(0, count, chunk):
            batch = [{"name": name}] * min(chunk, count - start)
            self.http.post("/tasks/batch", json=batch).raise_for_status()

    def processes(self) -> list[psutil.Process]:
        """All of it, PostgreSQL's backends included."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by kind of process."""
        seconds: dict[str, float] = {}
        for process in self.processes():
            try:
                kind, times = kind_of(process), process.cpu_times()
            except psutil.Error:
                continue
            seconds[kind] = seconds.get(kind, 0.0) + times.user + times.system
        return seconds

    def memory(self) -> dict[str, float]:
        """Proportional set sizes in MiB, by kind of process."""
        sizes: dict[str, float] = {}
        for process in self.processes():
            try:
                kind, size = kind_of(process), process.memory_full_info().pss / 2**20
            except psutil.Error:
                continue
            sizes[kind] = sizes.get(kind, 0.0) + size
        return sizes


def kind_of(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    if "postgres" in line:
        return "postgres"
    if "executor" in line:
        return "executors"
    if line.endswith(" node"):
        roles = process.environ().get("CALLBOARD_ROLES", "")
        return "workers" if roles == "worker" else "server"
    return "supervisor"


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in BY_VARIABLE and not name.startswith("CALLBOARD_")
    }
    return {**kept, "CALLBOARD_ENV_FILE": "", "CALLBOARD_CONFIG": "", **more}


def cli(*arguments: str) -> str:
    done = subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, check=True)
    return done.stdout


def wait_for(condition: Callable[[], bool], limit: float, every: float = 0.05) -> None:
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {limit:g} s")
        time.sleep(every)


@contextmanager
def running(workers: int = 3, flags: Sequence[str] = ()) -> Iterator[System]:
    """Started, ready, and stopped at the end with everything it wrote."""
    folder = Path(tempfile.mkdtemp(prefix="callboard-bench-"))
    folder.chmod(0o711)
    handlers, data = folder / "handlers.py", folder / "data"
    handlers.write_text(HANDLERS)
    data.mkdir()
    process = subprocess.Popen(
        command(
            "up", "--app", str(handlers), "--workers", str(workers), "--data", str(data), "--http-port", "0",
            "--grpc-port", "0", "--output", "json", *flags,
        ),
        env=environment(BENCH_OUT=str(folder / "out"), **{USER_PATH: str(folder)}),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the system did not start; its own message is above")
        system = System(process, json.loads(line)["url"], folder, data)
        wait_for(lambda: len(system.workers()) == workers, 20)
        yield system
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(15)
        shutil.rmtree(folder, ignore_errors=True)
