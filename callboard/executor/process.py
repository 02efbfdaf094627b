"""What this process asks of the kernel: to end with its node, and to leave signals to it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from typing import NoReturn


def end_with(lifeline_fd: int) -> None:
    """The kernel sends SIGKILL to this process when the other end of the pipe closes, or is written to.

    That works while Python code holds the interpreter, and needs no thread. Exits when the other end is closed
    already: then no signal would come.
    """
    os.set_inheritable(lifeline_fd, False)
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline_fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)
    watch = select.poll()
    watch.register(lifeline_fd, select.POLLIN)
    if watch.poll(0):
        os._exit(0)


def leave_signals_to_the_node() -> None:
    """SIGINT and SIGTERM do nothing here: the node decides when an executor ends.

    Handlers and not SIG_IGN: an ignored signal stays ignored in the programs that a user's code starts.
    """
    signal.signal(signal.SIGINT, _nothing)
    signal.signal(signal.SIGTERM, _nothing)


def _nothing(number: int, frame: object) -> None:
    """Takes the signal."""


def close_stdin() -> None:
    """User code that asks for input gets an end of file."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def leave(code: int) -> NoReturn:
    """Ends the process now: threads of the user's that don't end are no reason to stay."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more
    os._exit(code)
