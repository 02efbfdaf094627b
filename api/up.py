"""`callboard up`: a supervisor of processes. PostgreSQL, one server node, worker nodes; stopped in reverse."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from actors.model.errors import ConfigurationError, StorageUnavailable
from api.app_check import check_apps
from api.processes import Child, Hurry
from api.settings import Settings
from storage.embedded import EmbeddedServer
from storage.url import DatabaseUrl, parse_url

log = logging.getLogger(__name__)

ADDRESS_FILE = "up.json"  # in the data folder while it runs: where client commands find it
DEFAULTS: dict[str, Any] = {"profile": "fast", "drain": 2.0, "cancel_grace": 0.4, "log_level": "warning"}
REACH_LIMIT = 5.0  # seconds that a given database has to accept a connection, before we give up
# Together below the 5 s that a Ctrl-C may take; what the nodes leave of it belongs to PostgreSQL.
STOP_LIMIT, WORKERS_LIMIT, SERVER_LIMIT, POSTGRES_IMMEDIATE = 4.7, 2.8, 1.0, 0.5


class Up:
    """One run of the supervisor."""

    def __init__(self, settings: Settings, say: Callable[[dict[str, Any]], None]) -> None:
        self.settings, self._say = settings, say
        self.stopping = trio.Event()
        self.hurry = Hurry()
        self._asked_at = 0.0
        self._lifeline, self._lifeline_end = os.pipe()  # the end closes with us, however we end

    async def run(self) -> None:
        """Until a signal, then everything is stopped in order; raises what made it give up."""
        check_ports(self.settings)
        await check_apps(self.settings)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch_signals)
            async with self._database() as url:
                if url is not None:
                    await self._serve(replace(self.settings, database_url=url))
            nursery.cancel_scope.cancel()

    async def _watch_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                if self.stopping.is_set():
                    self.hurry.ask()
                self._asked_at = self._asked_at or trio.current_time()
                self.stopping.set()

    async def _unless_stopping(self, run: Callable[[], Awaitable[Any]]) -> bool:
        """Whether it was finished before somebody asked to stop; otherwise it was cancelled."""
        finished = False
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await self.stopping.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await run()
            finished = True
            nursery.cancel_scope.cancel()
        return finished

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[str | None]:
        """The given URL, else that of the embedded server, which runs meanwhile; None when stopped before."""
        if self.settings.database_url:
            reached = await self._unless_stopping(lambda: reach(parse_url(str(self.settings.database_url))))
            yield self.settings.database_url if reached else None
            return
        server = EmbeddedServer(self.settings.data)
        async with trio.open_nursery() as nursery:
            began = await self._unless_stopping(lambda: nursery.start(server.run))
            yield server.url if began else None
            server.fast_limit = self._time_left()
            nursery.cancel_scope.cancel()

    def _time_left(self) -> float:
        if self.hurry.asked:
            return 0.0
        begun = self._asked_at or trio.current_time()
        return max(0.3, begun + STOP_LIMIT - POSTGRES_IMMEDIATE - trio.current_time())

    async def _serve(self, settings: Settings) -> None:
        server = self._server(settings)
        async with trio.open_nursery() as servers:
            if await self._unless_stopping(lambda: servers.start(server.keep)):
                async with trio.open_nursery() as crew:
                    if await self._unless_stopping(lambda: self._start_workers(crew, settings, server)):
                        with self._announced(server):
                            await self.stopping.wait()
                    crew.cancel_scope.cancel()
            servers.cancel_scope.cancel()

    def _server(self, settings: Settings) -> Child:
        def now() -> Settings:
            """After a restart at the same ports, also when the first start chose them."""
            return replace(
                settings,
                roles=("scheduler", "coordinator", "api"),
                coordinator_addresses=(),
                http_port=child.ready.get("http") or settings.http_port,
                grpc_port=child.ready.get("grpc") or settings.grpc_port,
            )

        child = self._child("the server node", now, self._stop_limit(SERVER_LIMIT, ("scheduler", "coordinator", "api")))
        return child

    def _stop_limit(self, usual: float, roles: Sequence[str]) -> float:
        """Seconds before a node is killed: few, so that Ctrl-C is quick; all it may need if somebody asked for time."""
        drain, grace = self.settings.drain, self.settings.cancel_grace
        if drain <= DEFAULTS["drain"] and grace <= DEFAULTS["cancel_grace"]:
            return usual
        from api.stop_budget import limit  # here: it loads every room

        return max(usual, limit(drain, grace, roles))

    async def _start_workers(self, crew: trio.Nursery, settings: Settings, server: Child) -> None:
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "localhost") else settings.host
        worker = replace(
            settings,
            roles=("worker",),
            host="127.0.0.1",
            http_port=0,
            database_url=None,  # workers need none: the coordinator tells them how the database is
            coordinator_addresses=(f"http://{_bracketed(host)}:{server.ready['grpc']}",),
        )
        stop_limit = self._stop_limit(WORKERS_LIMIT, ("worker",))
        async with trio.open_nursery() as starts:
            for number in range(1, settings.workers + 1):
                named = replace(worker, worker_name=f"worker-{number}")
                child = self._child(named.worker_name, lambda named=named: named, stop_limit)  # type: ignore[misc]
                starts.start_soon(crew.start, child.keep)

    def _child(self, name: str, settings: Callable[[], Settings], stop_limit: float) -> Child:
        return Child(name, settings, lifeline=self._lifeline, stop_limit=stop_limit, hurry=self.hurry)

    def _announced(self, server: Child) -> AddressFile:
        host = "127.0.0.1" if self.settings.host == "0.0.0.0" else _bracketed(self.settings.host)
        addresses = {
            "url": f"http://{host}:{server.ready['http']}",
            "grpc": f"http://{host}:{server.ready['grpc']}",
            "workers": self.settings.workers,
            "pid": os.getpid(),
        }
        self._say(addresses)
        return AddressFile(self.settings.data / ADDRESS_FILE, addresses)


class AddressFile:
    """Where we run, for client commands on this machine; removed at the end."""

    def __init__(self, path: Path, addresses: dict[str, Any]) -> None:
        self._path, self._addresses = path, addresses

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._addresses) + "\n")
        except OSError as error:
            log.warning("%s: %s; client commands need --url", self._path, error.strerror)

    def __exit__(self, *_: object) -> None:
        found = read_address_file(self._path.parent)
        if found is not None and found["pid"] == os.getpid():
            self._path.unlink(missing_ok=True)


def read_address_file(data: Path) -> dict[str, Any] | None:
    """What a running `callboard up` with this data folder wrote; None when there is none."""
    try:
        found: dict[str, Any] = json.loads((data / ADDRESS_FILE).read_text())
        return found if Path(f"/proc/{int(found['pid'])}").exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_ports(settings: Settings) -> None:
    """Raises ConfigurationError for every port that can't be had."""
    problems = []
    for flag, port in (("--http-port", settings.http_port), ("--grpc-port", settings.grpc_port)):
        try:
            family = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.host, port))
        except OSError as error:
            problems.append(_port_problem(flag, settings.host, port, error))
    if settings.http_port == settings.grpc_port != 0:
        problems.append(f"--http-port and --grpc-port are both {settings.http_port}: choose different ones")
    if problems:
        raise ConfigurationError(problems)


def _port_problem(flag: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        hint = f"stop what uses it (`ss -ltnp` shows it) or choose another with {flag}"
        return f"{flag}={port} ({host}): the port is taken; {hint}"
    if error.errno in (errno.EADDRNOTAVAIL, None) or isinstance(error, socket.gaierror):
        return f'--host="{host}": no address of this machine: {error.strerror}; bind 127.0.0.1 or 0.0.0.0'
    return f"{flag}={port} ({host}): {error.strerror}; choose another with {flag}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def reach(url: DatabaseUrl, limit: float = REACH_LIMIT) -> None:
    """Waits until something accepts connections there. Raises StorageUnavailable, which names host and port."""
    problem: OSError = TimeoutError(errno.ETIMEDOUT, "no answer")
    with trio.move_on_after(limit):
        while True:
            try:
                local = url.host.startswith("/")
                stream: trio.SocketStream = (
                    await trio.open_unix_socket(f"{url.host}/.s.PGSQL.{url.port}")
                    if local
                    else await trio.open_tcp_stream(url.host, url.port)
                )
            except OSError as error:
                problem = error
                await trio.sleep(0.2)
            else:
                await stream.aclose()
                return
    raise StorageUnavailable(
        f"no PostgreSQL answers (DATABASE_URL, {url.host}:{url.port}): {_plainly(problem)}; start it or correct "
        "DATABASE_URL; without it a PostgreSQL of its own is started"
    )


def _plainly(error: OSError) -> str:
    """The reason at the bottom: what tries several addresses reports a group."""
    cause: BaseException = error
    while isinstance(cause, OSError) and cause.__cause__ is not None:
        cause = cause.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, socket.gaierror) or not isinstance(cause, OSError) or cause.errno is None:
        return str(getattr(cause, "strerror", None) or cause)
    return os.strerror(cause.errno)


async def run_up(settings: Settings, say: Callable[[dict[str, Any]], None]) -> int:
    """The whole life of `callboard up`; `say` is told the addresses when everything is ready."""
    await Up(settings, say).run()
    return 0
