"""What arms the probe inside a node: failpoints, and the recorder of what the node did.

CALLBOARD_TEST_FAILPOINTS: POINT=ACTION[@N], separated by commas; at the N-th pass (the first), and once. Actions:
`exit` (SIGKILL), `stop` (SIGSTOP), `raise`, `sleep:SECONDS`. CALLBOARD_TEST_HISTORY: FOLDER:PROCESS:LIFE.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from tests.system.bench.record import Recorder

POINTS = frozenset({
    "claim.before", "claim.after_commit", "assign.before_send", "assign.received", "executor.after_start",
    "outcome.before_report", "outcome.received", "outcome.before_commit", "outcome.after_commit",
    "renew.before", "renew.after_commit", "sweep.after_commit", "sign_in.after_commit",
    "submit.before_commit", "submit.after_commit", "cron.before_commit", "cron.after_commit",
    "drain.begin", "drain.waited", "drain.stopped", "drain.flushed", "drain.signed_out",
})  # fmt: skip
_SYNTAX = re.compile(r"([a-z_.]+)=(exit|stop|raise|sleep:(\d+(?:\.\d+)?))(?:@(\d+))?")
TASKS = 50  # of one claim in one line


class FailpointError(Exception):
    """A failpoint raised."""


@dataclass
class Failpoint:
    action: str
    seconds: float = 0.0
    passes: int = 1  # left until it fires; 0: it has


def parse(text: str) -> dict[str, Failpoint]:
    """Raises ValueError that says what is wrong."""
    found: dict[str, Failpoint] = {}
    for part in filter(None, text.split(",")):
        match = _SYNTAX.fullmatch(part)
        if match is None:
            raise ValueError(f'"{part}" is not POINT=exit|stop|raise|sleep:SECONDS[@N]')
        point, action, seconds, passes = match.groups()
        if point not in POINTS:
            raise ValueError(f'there is no point "{point}"; known are {", ".join(sorted(POINTS))}')
        found[point] = Failpoint(action.partition(":")[0], float(seconds or 0), int(passes or 1))
    return found


class Armed:
    """The probe of one node."""

    def __init__(self, recorder: Recorder | None, failpoints: dict[str, Failpoint]) -> None:
        self._recorder, self._failpoints = recorder, failpoints

    def note(self, event: str, **fields: Any) -> None:
        if self._recorder is None:
            return
        tasks = fields.get("tasks", ())
        for start in range(0, max(1, len(tasks)), TASKS):  # a line has a limit
            part = {"tasks": tasks[start : start + TASKS]} if tasks else {}
            self._recorder.note(event, **fields | part)

    def touch(self, point: str) -> None:
        seconds = self._fire(point)
        if seconds:
            time.sleep(seconds)

    async def reach(self, point: str) -> None:
        seconds = self._fire(point)
        if seconds:
            await trio.sleep(seconds)

    def _fire(self, point: str) -> float:
        """Seconds to wait here."""
        failpoint = self._failpoints.get(point)
        if failpoint is None or failpoint.passes == 0:
            return 0.0
        failpoint.passes -= 1
        if failpoint.passes:
            return 0.0
        self.note("failpoint", point=point, action=failpoint.action)
        match failpoint.action:
            case "exit":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise FailpointError(point)
        return failpoint.seconds


def armed(environ: Mapping[str, str]) -> Armed:
    """As the variables say. Raises ValueError."""
    recorder = None
    if history := environ.get("CALLBOARD_TEST_HISTORY"):
        folder, proc, life = history.rsplit(":", 2)
        recorder = Recorder(Path(folder), proc, int(life))
        atexit.register(recorder.end)
    return Armed(recorder, parse(environ.get("CALLBOARD_TEST_FAILPOINTS", "")))
