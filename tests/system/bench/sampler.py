"""Looks at every process once a second, and at the database's clock ten times a second."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import httpx
import psutil
import trio

from tests.system.bench.system import System

EVERY, CLOCK_EVERY, FIND_EVERY = 1.0, 0.1, 0.2
WINDOW = 3  # looks


class Sampler:
    """`run` until cancelled; then `bury`."""

    def __init__(self, system: System) -> None:
        self._system, self._recorder = system, system.sampler
        self._watched: set[tuple[int, float]] = set()  # process, when it was created
        self._buried: set[int] = set()
        self._waited: dict[int, deque[tuple[float, float]]] = {}
        self.strain = 0.0  # the largest share of a window for which a process had to wait for a processor
        self._http = httpx.AsyncClient(timeout=2.0, trust_env=False)

    async def run(self) -> None:
        async with self._http, trio.open_nursery() as nursery:
            nursery.start_soon(self._clock)
            nursery.start_soon(self._find, nursery)
            while True:
                began = trio.current_time()
                self.look()
                for name in list(self._system.nodes):
                    await self._health(name)
                await trio.sleep(max(0.05, EVERY - (trio.current_time() - began)))

    def look(self) -> None:
        """Every process of every node."""
        for name, node in list(self._system.nodes.items()):
            if not self._system.alive(name):
                continue
            try:
                process = psutil.Process(node.pid)
                family = [process, *process.children()]
            except psutil.NoSuchProcess:
                continue
            for one in family:
                self._sample(name, one, len(family) - 1 if one is process else 0)

    async def _find(self, nursery: trio.Nursery) -> None:
        """Whoever ran a handler left a file; its end is seen at once."""
        while True:
            for path in self._system.history.glob("handlers.*.jsonl"):
                pid = int(path.name.split(".")[1])
                try:
                    created = psutil.Process(pid).create_time()
                    if (pid, created) not in self._watched:
                        self._watched.add((pid, created))
                        nursery.start_soon(self._watch, pid, os.pidfd_open(pid))
                except (psutil.NoSuchProcess, ProcessLookupError):
                    if pid not in self._buried:  # it came and went between two looks
                        self._gone(pid)
            await trio.sleep(FIND_EVERY)

    async def _watch(self, pid: int, descriptor: int) -> None:
        try:
            await trio.lowlevel.wait_readable(descriptor)
            self._gone(pid)
        finally:
            os.close(descriptor)

    def _gone(self, pid: int) -> None:
        self._buried.add(pid)
        self._recorder.note("gone", pid=pid)

    def bury(self) -> None:
        """At the end: whoever ran a handler, and has ended unseen."""
        for path in self._system.history.glob("handlers.*.jsonl"):
            pid = int(path.name.split(".")[1])
            if pid not in self._buried and not psutil.pid_exists(pid):
                self._gone(pid)

    def _sample(self, name: str, process: psutil.Process, children: int) -> None:
        try:
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    return
                zombies = sum(one.status() == psutil.STATUS_ZOMBIE for one in process.children()) if children else 0
                times = process.cpu_times()
                self._recorder.note(
                    "sample", node=name, pid=process.pid, rss=process.memory_info().rss, fds=process.num_fds(),
                    threads=process.num_threads(), children=children, zombies=zombies,
                    cpu=round(times.user + times.system, 2),
                )  # fmt: skip
                self._strain(process.pid)
        except psutil.Error:
            return

    def _strain(self, pid: int) -> None:
        """The share of some seconds for which a process was ready to run, and was not let."""
        try:
            waited = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return
        now = time.monotonic()
        looks = self._waited.setdefault(pid, deque(maxlen=WINDOW + 1))
        looks.append((now, waited))
        if len(looks) > WINDOW:
            self.strain = max(self.strain, (waited - looks[0][1]) / (now - looks[0][0]))

    def calm(self) -> None:
        """What strained the machine until now does not count: everybody was starting."""
        self.strain = 0.0
        self._waited.clear()

    async def _health(self, name: str) -> None:
        port = self._system.nodes[name].ready.get("http")
        if port is None or not self._system.alive(name) or name in self._system.cluster.prefix:
            return
        answers: dict[str, Any] = {}
        for what in ("livez", "readyz"):
            try:
                answers[what] = (await self._http.get(f"http://127.0.0.1:{port}/{what}")).status_code == 200
            except httpx.HTTPError:
                answers[what] = None
        self._recorder.note("health", node=name, live=answers["livez"], ready=answers["readyz"])

    async def _clock(self) -> None:
        """Comes back whenever the database does."""
        while True:
            try:
                async with self._system.database() as database:
                    looked = 0.0
                    while True:
                        with trio.fail_after(2):
                            at = await database.value("SELECT extract(epoch FROM clock_timestamp())::float8")
                        self._recorder.note("clock", database=at)
                        if time.monotonic() - looked >= EVERY:
                            looked = time.monotonic()
                            await self._connections(database)
                        await trio.sleep(CLOCK_EVERY)
            except Exception:  # the database is away: that is what is tested
                await trio.sleep(0.3)

    async def _connections(self, database: Any) -> None:
        row = await database.row(
            "SELECT count(*) FILTER (WHERE application_name LIKE 'callboard%') AS connections,"
            " coalesce(extract(epoch FROM clock_timestamp() - min(xact_start) FILTER ("
            "   WHERE application_name LIKE 'callboard%')), 0)::float8 AS oldest"
            " FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        self._recorder.note("database", connections=row["connections"], oldest_transaction=round(row["oldest"], 3))
