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
from actors.runtime import probe
from actors.runtime.supervisor import leaves
from actors.runtime.tree import TreeNode
from api.arming import arm
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
    code = OK
    try:
        arm(os.environ)
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, stopping)
            if settings.lifeline_fd is not None:
                nursery.start_soon(_watch_lifeline, settings.lifeline_fd, stopping)
            with stopping.root:
                await _run_roles(settings, stopping)
            nursery.cancel_scope.cancel("the roles have ended")
    except* (ConfigurationError, StorageRefused) as refused:
        code = _say(refused, CONFIGURATION)
    except* RestartLimitReached as group:
        code = code or _say(group, GAVE_UP)
    except* Exception as group:
        log.error("the node ends on an unexpected error", exc_info=group)
        for error in leaves(group):
            print(f"error: unexpected {type(error).__name__}: {error}", file=sys.stderr)
        code = code or GAVE_UP
    if probe.armed is not None:
        probe.armed.note("exit", code=code)
    return code


def _say(group: BaseExceptionGroup[BaseException], code: int) -> int:
    for error in leaves(group):
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
    return code


async def _run_roles(settings: Settings, stopping: Stopping) -> None:
    """Server roles first, and last: a worker of the same process signs in at its own coordinator, and out."""
    root = TreeNode("node", "supervisor")
    root.enter("running")
    serves, works = bool(SERVER_ROLES & set(settings.roles)), settings.has("worker")
    server_stops = trio.Event() if works else stopping.asked
    facts: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        if serves:
            from api.server_node import run_server  # here: a worker node loads no database driver

            tree = root.child("server", "supervisor") if works else root
            async with trio.open_nursery() as starting:
                starting.start_soon(_pass_on, stopping.asked, server_stops)  # it may wait for the database for long
                facts = await nursery.start(run_server, settings, tree, server_stops)
                starting.cancel_scope.cancel("started")
        if works and not server_stops.is_set():
            from api.worker_node import run_worker  # here: a server node loads no crew

            async def work(*, task_status: trio.TaskStatus[Any]) -> None:
                tree = root.child("worker", "supervisor") if serves else root
                await run_worker(settings, tree, stopping.asked, beside=facts or None, task_status=task_status)
                server_stops.set()

            facts = {**await nursery.start(work), **facts}
        if not stopping.asked.is_set():
            tell_ready(settings, facts)


async def _pass_on(asked: trio.Event, stop: trio.Event) -> None:
    await asked.wait()
    stop.set()


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
