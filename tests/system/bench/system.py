"""The system on the bench: nodes, links through proxies, a database of its own, and what is recorded of them."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import trio

from actors.model.lease import PROFILES, LeaseTerms
from actors.runtime.aio import open_loop
from storage.migrate import migrate
from storage.url import DatabaseUrl, parse_url
from tests.support.bench import Database
from tests.support.cluster import Cluster, Node, open_cluster
from tests.support.postgres import Server
from tests.system.bench import chaosproxy, record
from tests.system.bench.chaosproxy import Proxy
from tests.system.bench.namespaces import HUB, Namespace, open_namespaces
from tests.system.bench.record import Recorder
from tests.system.bench.statements import Statements

HERE = Path(__file__).parent
SOCKET = ".s.PGSQL.5432"
CONNECT_LIMIT = 15.0  # seconds for a connection of the bench's own
PORTS = range(18_000, 30_000)  # below those that the kernel gives to outgoing connections


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Who is there. `front` takes submissions; coordinators and workers have names of their own."""

    coordinators: int = 2
    workers: int = 3
    slots: int | tuple[int, ...] = 4  # of each worker, or of one after the other
    executors: int = 1
    schedulers: int = 1  # the front, and so many coordinators less one
    profile: str = "fast"  # terms that hold on a machine with other things to do
    namespaces: bool = False  # workers live in network namespaces of their own
    parameters: str = ""  # more of them in the DATABASE_URL of nodes
    settings: dict[str, Any] = field(default_factory=dict)  # of every node
    worker_settings: dict[str, Any] = field(default_factory=dict)

    @property
    def terms(self) -> LeaseTerms:
        return PROFILES[self.profile]

    def slots_of(self, worker: str) -> int:
        return self.slots if isinstance(self.slots, int) else self.slots[self.worker_names.index(worker)]

    @property
    def coordinator_names(self) -> list[str]:
        return [f"c{number}" for number in range(1, self.coordinators + 1)]

    @property
    def worker_names(self) -> list[str]:
        return [f"w{number}" for number in range(1, self.workers + 1)]


class System:
    """Starts, restarts and stops nodes. Names stay: a node that comes back is the next life of the same name."""

    def __init__(self, folder: Path, layout: Layout, cluster: Cluster, server: Server, url: str) -> None:
        self.folder, self.layout, self.cluster, self.server, self.url = folder, layout, cluster, server, url
        self.history = folder / "history"
        self.links: dict[str, Proxy] = {}  # to each coordinator
        self.databases: dict[str, Proxy] = {}  # from each server node
        self.sockets: dict[str, Path] = {}
        self.addresses: dict[str, tuple[str, int]] = {}  # of coordinators, as workers know them
        self.ports: dict[str, int] = {}
        self.lives: dict[str, int] = {}
        self.stopping: set[str] = set()  # nodes whose end is meant
        self.nemesis = Recorder(self.history, "nemesis")
        self.client = Recorder(self.history, "client")
        self.sampler = Recorder(self.history, "sampler")
        self.clean_stops: list[dict[str, Any]] = []
        self.environ: dict[str, dict[str, str]] = {}  # more of it, by node
        self.statements = Statements()  # of all server nodes
        self.spaces: dict[str, Namespace] = {}  # of workers, if they have any
        self.at_the_end = AsyncExitStack()  # what a scenario started beside it

    # --- nodes --------------------------------------------------------------------------------------

    @property
    def nodes(self) -> dict[str, Node]:
        return self.cluster.nodes

    @property
    def server_names(self) -> list[str]:
        return ["front", *self.layout.coordinator_names]

    @property
    def names(self) -> list[str]:
        return [*self.server_names, *self.layout.worker_names]

    def alive(self, name: str) -> bool:
        return name in self.nodes and self.nodes[name].process.poll() is None

    async def start(self, *names: str) -> None:
        """All of these at once; returns when each says that it is ready."""
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._start, name)

    async def _start(self, name: str) -> None:
        self.lives[name] = life = self.lives.get(name, 0) + 1
        self.stopping.discard(name)
        settings: dict[str, Any] = {
            **self.layout.settings, **self.environ.get(name, {}),
            "callboard_test_history": f"{self.history}:{name}:{life}",
        }  # fmt: skip
        if name in self.server_names:
            await self._start_server(name, settings)
        else:
            addresses = ",".join("http://{}:{}".format(*self.addresses[one]) for one in self.layout.coordinator_names)
            await self.cluster.start(
                name, "worker", coordinator_address=addresses, callboard_worker_name=name,
                callboard_app=self.folder / "handlers.py", callboard_executors=self.layout.executors,
                callboard_slots=self.layout.slots_of(name), bench_history=self.history, bench_worker=name,
                **{**self.layout.worker_settings, **settings},
            )  # fmt: skip

    async def _start_server(self, name: str, settings: dict[str, Any]) -> None:
        url = self.url.replace(str(self.server.folder), str(self.sockets[name]))
        settings["database_url"] = url + self.layout.parameters
        if name == "front":
            node = await self.cluster.server(
                name, "scheduler,api", **settings, callboard_http_port=self.ports.get(name, 0)
            )
            self.ports[name] = node.ready["http"]
            return
        await self.cluster.server(
            name, self._roles(name), **settings, callboard_grpc_port=self.addresses[name][1],
            callboard_host=self.behind, callboard_advertise=self.addresses[name][0],
        )  # fmt: skip

    def _roles(self, coordinator: str) -> str:
        schedules = coordinator in self.layout.coordinator_names[: self.layout.schedulers - 1]
        return "scheduler,coordinator" if schedules else "coordinator"

    @property
    def behind(self) -> str:
        """Where coordinators listen; workers know them by the addresses of their proxies."""
        return "127.0.0.1"

    async def stop(self, *names: str, limit: float = 60.0) -> None:
        """SIGTERM, all at once; what has not left at the limit is killed. Notes how each ended."""
        async with trio.open_nursery() as nursery:
            for name in names:
                if self.alive(name):
                    nursery.start_soon(self._stop, name, limit)

    async def _stop(self, name: str, limit: float) -> None:
        self.stopping.add(name)
        process = self.nodes[name].process
        process.terminate()
        with trio.move_on_after(limit):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        self.clean_stops.append({"proc": name, "limit": limit, "code": process.returncode})

    def pids(self, name: str) -> list[int]:
        """The node's process and its executors; none when it is not there."""
        if not self.alive(name):
            return []
        try:
            return [self.nodes[name].pid, *(one.pid for one in self.nodes[name].executors())]
        except psutil.NoSuchProcess:
            return []

    def whose(self, port: int) -> str:
        """Which worker a connection from this local port belongs to."""
        for name in self.layout.worker_names:
            if not self.alive(name):
                continue
            try:
                found = psutil.Process(self.nodes[name].pid).net_connections("tcp4")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if any(one.laddr and one.laddr[1] == port for one in found):
                return name
        return ""

    # --- facts --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """A connection of the bench's own, past every proxy. Raises OSError and asyncpg errors while it is away."""
        database = Database(parse_url(self.url))
        with trio.fail_after(CONNECT_LIMIT):
            await database.open()
        try:
            yield database
        finally:
            database.close()

    async def when(self, condition: Any, what: str, limit: float = 20.0) -> None:
        """Waits until the condition holds; it may be async, and may fail meanwhile."""
        last: object = None
        with trio.move_on_after(limit):
            while True:
                try:
                    last = condition()
                    if hasattr(last, "__await__"):
                        last = await last
                    if last:
                        return
                except Exception as error:  # a system under fault answers with anything
                    last = error
                await trio.sleep(0.05)
        raise AssertionError(f"not within {limit:g} s: {what} (last: {last!r})")

    async def scalar(self, query: str, *args: Any) -> Any:
        async with self.database() as database:
            return await database.value(query, *args)

    async def until_workers(self, count: int | None = None, limit: float = 20.0) -> None:
        """Until so many sessions are live; all of them unless said otherwise."""
        wanted = self.layout.workers if count is None else count
        query = "SELECT count(*) FROM callboard_workers WHERE state = 'live' AND lease_until > clock_timestamp()"

        async def there() -> bool:
            return bool(await self.scalar(query) == wanted)

        await self.when(there, f"{wanted} live sessions", limit)

    async def linked(self) -> dict[str, str]:
        """Which coordinator each live worker is at."""
        async with self.database() as database:
            rows = await database.fetch("SELECT name, coordinator_id FROM callboard_workers WHERE state = 'live'")
        homes = {self.nodes[name].ready.get("node"): name for name in self.layout.coordinator_names}
        return {row["name"]: homes.get(row["coordinator_id"], "?") for row in rows}

    async def busiest_coordinator(self) -> str:
        homes = list((await self.linked()).values())
        return max(self.layout.coordinator_names, key=homes.count)

    async def busy_workers(self) -> list[str]:
        """Workers by how much they hold, most first."""
        async with self.database() as database:
            rows = await database.fetch(
                "SELECT w.name, count(*) AS held FROM callboard_tasks t JOIN callboard_workers w USING (session_id)"
                " WHERE t.state IN ('assigned', 'running') AND w.state = 'live' GROUP BY 1 ORDER BY 2 DESC"
            )
        return [row["name"] for row in rows if self.alive(row["name"])]

    def passed(self, *databases: str) -> int:
        """Bytes that went over the links, or to and from the databases of these nodes."""
        proxies = [self.databases[name] for name in databases] or list(self.links.values())
        return sum(proxy.passed for proxy in proxies)

    def lost(self) -> int:
        """Bytes that the links have lost."""
        return sum(proxy.lost for proxy in self.links.values())

    def calm(self) -> None:
        """Every proxy passes everything on."""
        for proxy in (*self.links.values(), *self.databases.values()):
            proxy.calm()

    def logs(self) -> dict[str, str]:
        return {name: path.read_text(errors="replace") for name in self.lives if (path := self.log(name)).exists()}

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def free_port(hosts: Iterable[str], seed: random.Random) -> int:
    """A port that is free on all of these addresses."""
    while True:
        port = seed.choice(PORTS)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for host in hosts:
                stack.enter_context(socket.socket()).bind((host, port))
            return port


@asynccontextmanager
async def open_system(server: Server, layout: Layout, folder: Path | None = None) -> AsyncIterator[System]:
    """The database and the proxies; no node yet. The folder stays when it was given."""
    async with AsyncExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cb-bench-")))
        (folder / "history").mkdir(parents=True)
        shutil.copy(record.__file__, folder / "record.py")
        await stack.enter_async_context(open_loop())
        url = server.url(f"b_{uuid.uuid4().hex[:12]}")
        await _prepare(parse_url(url))
        cluster = await stack.enter_async_context(
            open_cluster(folder, url, profile=layout.profile, handlers=HERE / "handlers.py")
        )
        system = System(folder, layout, cluster, server, url)
        await stack.enter_async_context(system.at_the_end)
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cb-pg-")))
        for name in system.server_names:
            system.sockets[name] = sockets / name
            system.sockets[name].mkdir()
            system.databases[name] = await stack.enter_async_context(
                chaosproxy.open_proxy(system.sockets[name] / SOCKET, server.folder / SOCKET)
            )
            system.databases[name].up(watch=system.statements.watch)
        if layout.namespaces:
            system.spaces = stack.enter_context(open_namespaces(layout.worker_names))
            cluster.prefix = {name: space.prefix for name, space in system.spaces.items()}
        seed = random.Random(time.monotonic_ns())
        for number, name in enumerate(layout.coordinator_names, start=1):
            front = HUB if layout.namespaces else f"127.0.1.{number}"
            port = free_port((front, system.behind), seed)
            system.addresses[name] = (front, port)
            system.links[name] = await stack.enter_async_context(
                chaosproxy.open_proxy(
                    (front, port), (system.behind, port), lambda stream: system.whose(stream.socket.getpeername()[1])
                )
            )
        yield system


async def _prepare(url: DatabaseUrl) -> None:
    await migrate(url)
    database = Database(url)
    await database.open()
    try:
        await database.execute((HERE / "audit.sql").read_text())
    finally:
        database.close()
