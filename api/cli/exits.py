"""How a command ends: the exit codes of sysexits, and one line on stderr that says what, where and how to fix it."""

from __future__ import annotations

import sys
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
    """A command ends with this code and this one line."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def say_error(error: BaseException) -> int:
    """Prints every error on purpose as its lines; returns the exit code. Anything else is raised again."""
    leaves = list(_leaves(error))
    unexpected = next((leaf for leaf in leaves if not isinstance(leaf, CallboardError)), None)
    if unexpected is not None:
        raise error
    lines = [line for leaf in leaves for line in (str(leaf) or type(leaf).__name__).splitlines()]
    for line in dict.fromkeys(lines):
        print(f"error: {line}", file=sys.stderr)
    return max((_code(leaf) for leaf in leaves), default=FAILED)


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
        case _:
            return FAILED
