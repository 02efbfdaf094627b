"""Child processes of `callboard up`: started isolated, kept running within limits, stopped in order.

What the two sides agree on: a node writes one JSON line with its addresses to `ready_fd` when it can
serve, and stops at the end of file of `lifeline_fd`, so that it never outlives a supervisor that was killed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import trio

from actors.model.errors import CallboardError, RestartLimitReached
from api.settings import Settings
from api.settings_keys import BY_VARIABLE
from callboard.launcher import USER_PATH, command, user_path

log = logging.getLogger(__name__)

CRASHES, PERIOD = 5, 60.0  # more crashes than this in so many seconds: give up
READY_LIMIT = 60.0
GAVE_UP = 70
CONFIGURATION = 78  # a child that says this would say it again: never restarted


class ChildRefused(CallboardError):
    """A child ended because a person must act; it has said why on stderr."""

    def __init__(self, name: str, code: int, how: str = "") -> None:
        how = how or f"exit code {code}"
        super().__init__(f"{name} can't run ({how}): its own message above says what to change")
        self.code = code


def child_environment(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Everything of ours replaced by the child's settings; the rest passed on for user code."""
    foreign = {name: value for name, value in environ.items() if name not in BY_VARIABLE}
    return {**foreign, USER_PATH: user_path(environ), **settings.environment()}


class Hurry:
    """A second Ctrl-C: whoever waits for a child to end waits no longer."""

    def __init__(self) -> None:
        self.asked = False
        self._waits: set[trio.CancelScope] = set()

    def ask(self) -> None:
        self.asked = True
        for scope in self._waits:
            scope.cancel()

    async def wait(self, process: trio.Process, limit: float) -> None:
        """At most `limit` seconds, also while the caller is being cancelled."""
        with trio.move_on_after(0 if self.asked else limit, shield=True) as scope:
            self._waits.add(scope)
            try:
                await process.wait()
            finally:
                self._waits.discard(scope)


class Child:
    """One node process that is kept running."""

    def __init__(
        self, name: str, settings: Callable[[], Settings], *, lifeline: int, stop_limit: float, hurry: Hurry
    ) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}  # what it last said of its addresses
        self.pid: int | None = None
        self._settings, self._lifeline, self._stop_limit, self._hurry = settings, lifeline, stop_limit, hurry

    async def keep(self, *, task_status: trio.TaskStatus[dict[str, Any]] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts it again whenever it ends, until cancelled. Started means that it said it is ready.

        Raises ChildRefused when it asks for a person or ends before it was ever ready, RestartLimitReached later.
        """
        crashes: deque[float] = deque()
        started = False
        while True:
            process, told = await self._start()
            try:
                if await self._hear(process, told) and not started:
                    task_status.started(self.ready)
                    started = True
                code = await process.wait()
            finally:
                os.close(told)
                await self._stop(process)
            if code == CONFIGURATION:
                raise ChildRefused(self.name, code)
            if not started:  # another start would most likely say the same
                raise ChildRefused(self.name, GAVE_UP, f"it was never ready; {_how(code)}")
            if code == 0:  # an operator drained it
                log.warning("%s (process %s) was asked to end, and has; it is not started again", self.name, self.pid)
                await trio.sleep_forever()
            await self._after_crash(crashes, code)

    async def _start(self) -> tuple[trio.Process, int]:
        told, tell = os.pipe()
        settings = replace(self._settings(), ready_fd=tell, lifeline_fd=self._lifeline)
        try:
            # A process group of its own: Ctrl-C in the terminal reaches the supervisor alone.
            process = await trio.lowlevel.open_process(
                command("node"),
                env=child_environment(os.environ, settings),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                process_group=0,
                pass_fds=(tell, self._lifeline),
            )
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tell)
        self.pid = process.pid
        return process, told

    async def _hear(self, process: trio.Process, told: int) -> bool:
        """Waits for the line of addresses; False when it ended without one."""
        os.set_blocking(told, False)
        line = b""
        with trio.move_on_after(READY_LIMIT):
            while not line.endswith(b"\n"):
                await trio.lowlevel.wait_readable(told)
                part = os.read(told, 4096)
                if not part:
                    return False
                line += part
        if not line.endswith(b"\n"):
            log.warning("%s did not get ready within %g s; it is killed", self.name, READY_LIMIT)
            process.kill()
            return False
        self.ready = json.loads(line)
        return True

    async def _stop(self, process: trio.Process) -> None:
        """Asked first, then killed."""
        if process.poll() is None:
            process.terminate()
            await self._hurry.wait(process, self._stop_limit)
        if process.poll() is None:
            process.kill()
            with trio.CancelScope(shield=True):  # a killed process ends at once
                await process.wait()

    async def _after_crash(self, crashes: deque[float], code: int) -> None:
        how = _how(code)
        log.warning("%s (process %s) ended by itself with %s; starting it again", self.name, self.pid, how)
        now = trio.current_time()
        crashes.append(now)
        while crashes[0] < now - PERIOD:
            crashes.popleft()
        if len(crashes) > CRASHES:
            raise RestartLimitReached(f"{self.name} ended {len(crashes)} times in {PERIOD:g} s, last with {how}")
        await trio.sleep(0.1 * 2 ** (len(crashes) - 1))


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
