"""From the first frame to the last: imports the user's modules, then runs what the node sends."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import traceback
from typing import NoReturn

import trio

from callboard.executor import process
from callboard.executor.apps import load_apps
from callboard.executor.executor import Executor
from callboard.executor.frames import (
    Boot,
    Broken,
    Cutter,
    Declared,
    FrameError,
    Ready,
    ToExecutor,
    encode,
    for_executor,
)
from callboard.executor.page import Page, inherited
from callboard.registry import definitions

BROKEN_APP = 78
GAVE_UP = 70
_RECEIVE = 65_536


def run(socket_fd: int, lifeline_fd: int) -> NoReturn:
    """Ends the process: 0 when told to or when the node is gone, 78 for an app that can't be imported, 70 for a bug."""
    code = GAVE_UP
    try:
        process.end_with(lifeline_fd)
        process.leave_signals_to_the_node()
        process.close_stdin()
        os.set_inheritable(socket_fd, False)
        code = _run(socket.socket(fileno=socket_fd), inherited(os.environ))
    except BaseException:
        traceback.print_exc()
    process.leave(code)


def _run(connection: socket.socket, page: Page | None) -> int:
    cutter = Cutter()
    frames = _wait_for_frames(connection, cutter)
    if not frames:
        return 0
    boot = frames.pop(0)
    if not isinstance(boot, Boot):
        raise FrameError(f"the first frame must be Boot, got {type(boot).__name__}")
    problems = load_apps(boot.apps)
    if problems:
        connection.sendall(encode(Broken("\n".join(map(str, problems)))))
        return BROKEN_APP
    if not logging.getLogger().handlers:  # the user's modules may have set up their own
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    connection.sendall(encode(Ready(declared())))
    return trio.run(Executor(boot, page).run, connection, cutter, frames)


def _wait_for_frames(connection: socket.socket, cutter: Cutter) -> list[ToExecutor]:
    """At least one; none when the node is gone."""
    while True:
        data = connection.recv(_RECEIVE)
        if not data:
            return []
        frames = [for_executor(body) for body in cutter.feed(data)]
        if frames:
            return frames


def declared() -> list[Declared]:
    """The handlers of this process."""
    return [
        Declared(
            name=one.name,
            queue=one.queue,
            max_tries=one.max_tries,
            timeout=one.timeout,
            backoff=None if one.backoff is None else dict(one.backoff),
            args=one.arguments.shown(),
            isolated=one.isolated,
        )
        for one in definitions.values()
    ]


def check(apps: list[str]) -> NoReturn:
    """Prints a JSON list of [app, file, line, what]. What the apps print goes to stderr."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    problems = [[one.app, one.file, one.line, one.what] for one in load_apps(apps)]
    json.dump(problems, answer)
    answer.close()
    sys.stdout.flush()
    os._exit(0)
