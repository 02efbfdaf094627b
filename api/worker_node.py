"""A worker node: executors, the link to a coordinator, and the node's own HTTP server."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from actors.runtime.aio import open_loop
from actors.runtime.supervisor import RestartPolicy, keep_running
from actors.runtime.tree import TreeNode
from actors.worker.child import ChildProcess, launch
from actors.worker.limits import Limits
from actors.worker.tree import Worker, WorkerConfig
from api.http.serve import serve_http
from api.settings import Settings, user_environment
from api.worker_http.app import create_worker_app
from callboard import __version__
from callboard.executor.start import command, environment
from transport.client import dial

log = logging.getLogger(__name__)

HTTP = RestartPolicy(intensity=5, period=60)
HURRY_LIMIT = 3.0  # seconds that the end takes at most once somebody insists


def worker_config(settings: Settings, beside: Mapping[str, Any]) -> WorkerConfig:
    """What the settings say; beside a coordinator in the same process it connects to that one."""
    addresses = settings.coordinator_addresses
    if "grpc" in beside and settings.has("coordinator"):
        addresses = (f"http://{_local(settings.host)}:{beside['grpc']}",)
    return WorkerConfig(
        id=f"{settings.worker_name}-{secrets.token_hex(3)}",
        name=settings.worker_name,
        apps=settings.app,
        slots=settings.slots,
        executors=settings.executors,
        addresses=addresses,
        terms=settings.lease,
        limits=Limits(
            cancel_grace=settings.cancel_grace,
            lease_grace=min(settings.cancel_grace, settings.lease.margin / 3),
            stop_after=settings.lease.margin / 3,
        ),
        queues=settings.queues,
        labels=settings.labels,
        version=__version__,
        token=settings.token or "",
        drain=settings.drain,
        frozen_limit=settings.frozen_limit,
    )


def _local(host: str) -> str:
    """Under which address this machine reaches a server of its own."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def advertised(settings: Settings, port: int) -> str:
    """The HTTP address for others; a coordinator replaces 0.0.0.0 by where the link comes from."""
    host = settings.advertise or ("0.0.0.0" if settings.host in ("0.0.0.0", "::", "") else settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class WorkerNode:
    """One process with the role worker. Nesting is the start order."""

    def __init__(self, settings: Settings, root: TreeNode, beside: Mapping[str, Any]) -> None:
        self.settings, self._root = settings, root
        self._port = 0 if "http" in beside else settings.http_port
        variables = environment(user_environment(os.environ))

        async def start() -> ChildProcess:
            return await launch(command, variables)

        self.worker = Worker(worker_config(settings, beside), launch=start, dial=dial, node=root)
        self._scope = trio.CancelScope(shield=True)  # gets its deadline when the node is cancelled
        self._started, self._ended = False, trio.Event()

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[Mapping[str, Any]]) -> None:
        """Until it was drained: after `stopping`, or when an operator asked. Being cancelled hurries it."""
        async with trio.open_nursery() as outer:
            outer.start_soon(self._hurry_when_cancelled)
            with self._scope:
                await self._serve(stopping, task_status)
            outer.cancel_scope.cancel("the worker has ended")
        if not self._started:
            task_status.started({})  # stopped before it was ready

    async def _hurry_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._scope.deadline = trio.current_time() + (HURRY_LIMIT if self._started else 0)
            self.worker.insist()

    async def _serve(self, stopping: trio.Event, task_status: trio.TaskStatus[Mapping[str, Any]]) -> None:
        worker = self.worker
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop, stopping, nursery.cancel_scope)
            http = self._root.child("http")
            await nursery.start(partial(keep_running, "http", self._serve_http, HTTP, node=http))
            worker.http_address = advertised(self.settings, self._port)
            await nursery.start(self._run_worker)
            self._started = True
            task_status.started({"http": self._port, "worker": worker.worker_id})
            await self._ended.wait()
            nursery.cancel_scope.cancel("the worker has ended")

    async def _run_worker(self, *, task_status: trio.TaskStatus[Any]) -> None:
        await self.worker.run(task_status=task_status)
        self._ended.set()

    async def _stop(self, stopping: trio.Event, everything: trio.CancelScope) -> None:
        await stopping.wait()
        if self._started:
            await self.worker.drain(self.settings.drain, self.settings.cancel_grace)
        else:
            everything.cancel("stopped before it was ready")

    async def _serve_http(self, *, task_status: trio.TaskStatus[int]) -> None:
        """A restarted server gets the port of the one before: others know it."""
        facts, host = self.worker.facts, self.settings.host
        serve = partial(
            serve_http, create_worker_app(self.worker, self.settings), host=host, port=self._port, name="worker"
        )
        try:
            async with trio.open_nursery() as nursery:
                self._port = await nursery.start(serve)
                facts.server(True, f"listens on {host}:{self._port}")
                task_status.started(self._port)
        finally:
            facts.server(False, "the HTTP server does not run")


async def run_worker(
    settings: Settings,
    root: TreeNode,
    stopping: trio.Event,
    *,
    beside: Mapping[str, Any] | None = None,
    task_status: trio.TaskStatus[Mapping[str, Any]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs the role worker until `stopping`; started with its HTTP port and its id.

    `beside` are the ports of server roles in this process. Raises ConfigurationError when the app can't be
    imported, RestartLimitReached when executors or the link keep crashing.
    """
    if not settings.app:
        say = log.info if settings.ready_fd is not None else log.warning  # a supervisor says it once for all
        say("no app is given (--app): this worker knows no handler and will get no work")
    async with open_loop():
        await WorkerNode(settings, root, beside or {}).run(stopping, task_status=task_status)
