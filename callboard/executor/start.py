"""How a node starts an executor, and a check of the user's modules: command line and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from callboard.launcher import USER_PATH, user_path

_MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
# Ours alone: secrets that user code must not see, and descriptors that it doesn't have.
WITHHELD = frozenset(
    {"DATABASE_URL", "CALLBOARD_DIRECT_URL", "CALLBOARD_TOKEN", "CALLBOARD_READY_FD", "CALLBOARD_LIFELINE_FD"}
)


def command(socket_fd: int, lifeline_fd: int) -> list[str]:
    """Pass both descriptors on (`pass_fds`): one end of a stream socket pair, and the read end of a pipe.

    Keep the pipe's write end open, and in no other child: the executor is killed as soon as it is closed.
    """
    return [sys.executable, "-P", _MAIN, "run", str(socket_fd), str(lifeline_fd)]


def check_command(apps: Sequence[str]) -> list[str]:
    """Imports the apps as an executor would; prints a JSON list of [app, file, line, what] and exits 0."""
    return [sys.executable, "-P", _MAIN, "check", *apps]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of an executor: the node's, with the user's folders, without our secrets."""
    kept = {name: value for name, value in environ.items() if name not in WITHHELD}
    return {**kept, USER_PATH: user_path(environ)}
