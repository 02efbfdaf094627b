"""How a command ends: the exit codes of sysexits, and one line on stderr that says what, where and how to fix it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator

from actors.model.errors import (
    CallboardError,
    ConfigurationError,
    RestartLimitReached,
    StorageRefused,
    StorageUnavailable,
)
from api.processes import ChildRefused

OK = 0
FAILED = 1
USAGE = 2
BAD_DATA = 65
UNAVAILABLE = 69
GAVE_UP = 70
TRY_AGAIN = 75
NOT_ALLOWED = 77
CONFIGURATION = 78


class CommandFailed(CallboardError):
    """A command ends with this code and this one line.

    `status` is that of the API's answer, where it answered; `doubt`: nobody knows whether it did what was asked.
    """

    def __init__(self, message: str, code: int = FAILED, status: int | None = None, *, doubt: bool = False) -> None:
        super().__init__(message)
        self.code, self.status, self.doubt = code, status, doubt


def say_error(error: BaseException) -> int:
    """Prints every error as its lines; returns the exit code.

    One that nobody raised on purpose is a fault of ours: its traceback is shown with CALLBOARD_LOG_LEVEL=debug.
    """
    leaves = list(_leaves(error))
    if os.environ.get("CALLBOARD_LOG_LEVEL", "").lower() == "debug":
        traceback.print_exception(error)
    lines = [line for leaf in leaves for line in _lines(leaf)]
    for line in dict.fromkeys(lines):
        print(f"error: {line}", file=sys.stderr)
    return max((_code(leaf) for leaf in leaves), default=FAILED)


def _lines(error: BaseException) -> list[str]:
    if isinstance(error, CallboardError):
        return (str(error) or type(error).__name__).splitlines()
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)} line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return [f"unexpected {type(error).__name__}{where}: {text}; CALLBOARD_LOG_LEVEL=debug shows the way there"]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _code(error: BaseException) -> int:
    match error:
        case CommandFailed() | ChildRefused():
            return error.code
        case ConfigurationError() | StorageRefused():
            return CONFIGURATION
        case StorageUnavailable():
            return UNAVAILABLE
        case RestartLimitReached():
            return GAVE_UP
        case CallboardError():
            return FAILED
        case _:
            return GAVE_UP
