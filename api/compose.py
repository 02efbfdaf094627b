"""The composition root: who runs with whom in one node process, and in what order.

Nesting is the start order; leaving is the shutdown order. Read `server_node` and `worker_node` next.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from typing import Any

import trio

from actors.model.errors import ConfigurationError, RestartLimitReached, StorageRefused
from actors.runtime.supervisor import leaves
from actors.runtime.tree import TreeNode
from api.settings import Settings

log = logging.getLogger(__name__)

OK, GAVE_UP, CONFIGURATION = 0, 70, 78
SERVER_ROLES = frozenset({"scheduler", "coordinator", "api"})


class Stopping:
    """The node's stop signal: the first asks, the second insists."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.root = trio.CancelScope()

    def ask(self, why: str) -> None:
        if self.asked.is_set():
            self.root.cancel(f"second: {why}")
        else:
            log.info("stopping: %s", why)
            self.asked.set()


async def run_node(settings: Settings) -> int:
    """Runs the roles of this node until a signal; returns the exit code.

    0: stopped as asked. 70: gave up after repeated crashes. 78: a setting or the database refuses us.
    """
    stopping = Stopping()
    root = TreeNode("node", "supervisor")
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, stopping)
            if settings.lifeline_fd is not None:
                nursery.start_soon(_watch_lifeline, settings.lifeline_fd, stopping)
            with stopping.root:
                await _run_roles(settings, root, stopping)
            nursery.cancel_scope.cancel("the roles have ended")
    except* (ConfigurationError, StorageRefused) as refused:
        for error in leaves(refused):
            for line in str(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
        return CONFIGURATION
    except* RestartLimitReached as group:
        for error in leaves(group):
            print(f"error: {error}; this node ends so that its supervisor can start it anew", file=sys.stderr)
        return GAVE_UP
    return OK


async def _run_roles(settings: Settings, root: TreeNode, stopping: Stopping) -> None:
    # Imported here: a worker node loads no database driver, a server node no executor crew.
    if SERVER_ROLES & set(settings.roles):
        from api.server_node import run_server
    if settings.has("worker"):
        from api.worker_node import run_worker
    root.enter("running")
    if not settings.has("worker"):
        await run_server(settings, root, stopping.asked)
    elif not SERVER_ROLES & set(settings.roles):
        await run_worker(settings, root, stopping.asked)
    else:
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(run_server, settings, root.child("server"), stopping.asked)
            await run_worker(settings, root.child("worker"), stopping.asked, beside=bound)


async def _watch_signals(stopping: Stopping, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            stopping.ask(signal.Signals(number).name)


async def _watch_lifeline(descriptor: int, stopping: Stopping) -> None:
    """End of file means that the process which started us is gone."""
    os.set_blocking(descriptor, False)
    stream = trio.lowlevel.FdStream(descriptor)
    async with stream:
        while await stream.receive_some(64):
            pass
    stopping.ask("the supervising process has ended")


def tell_ready(settings: Settings, facts: dict[str, Any]) -> None:
    """Writes the one line that says where this node can be reached."""
    log.info("ready: %s", facts)
    if settings.ready_fd is not None:
        with os.fdopen(settings.ready_fd, "w") as pipe:
            print(json.dumps({"pid": os.getpid(), **facts}), file=pipe)
