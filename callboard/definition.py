"""What the decorator knows of a handler, checked when it is defined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from callboard.arguments import Arguments
from callboard.errors import seconds

MAX_NAME = 200
MAX_TRIES = 1000
MAX_TIMEOUT = 365 * 86_400.0  # seconds
MAX_BACKOFF = 30 * 86_400.0  # seconds
_BACKOFF = {"kind": "exponential", "base": 1.0, "cap": 3600.0, "jitter": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A handler; None where the decorator says nothing."""

    name: str
    function: Callable[..., Any]
    place: str  # file:line
    is_async: bool
    wants_context: bool
    arguments: Arguments
    queue: str | None = None
    max_tries: int | None = None
    timeout: float | None = None  # seconds
    backoff: Mapping[str, Any] | None = None  # {"kind", "base", "cap", "jitter"}
    isolated: bool = False


def checked_name(value: object, option: str) -> str:
    """Raises TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{option} must be a string, got {value!r}")
    if not 0 < len(value) <= MAX_NAME or not value.isprintable() or any(map(str.isspace, value)) or "<" in value:
        raise ValueError(
            f"{option} must have 1 to {MAX_NAME} printable characters without spaces or '<', got {value!r}; "
            f'write for example {option}="images.thumbnail"'
        )
    return value


def checked_tries(retries: object, max_tries: object) -> int | None:
    """The number of tries from either option. Raises TypeError or ValueError."""
    if retries is not None and max_tries is not None:
        raise ValueError(
            f"give either retries or max_tries, not both (got retries={retries!r}, max_tries={max_tries!r}); "
            "max_tries counts the first try too"
        )
    if retries is not None:
        return _whole(retries, "retries", 0, MAX_TRIES - 1) + 1
    return None if max_tries is None else _whole(max_tries, "max_tries", 1, MAX_TRIES)


def _whole(value: object, option: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} must be a whole number from {least} to {most}, got {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{option} must be from {least} to {most}, got {value!r}")
    return value


def checked_timeout(value: float | timedelta | None) -> float | None:
    """Seconds. Raises TypeError or ValueError."""
    return None if value is None else seconds(value, "timeout", least=0.001, most=MAX_TIMEOUT)


def checked_isolation(value: object) -> bool:
    """Whether the handler wants an executor to itself. Raises ValueError."""
    if value not in (None, "process"):
        raise ValueError(f'isolation must be "process" or be left out, got {value!r}')
    return value == "process"


def checked_backoff(value: object) -> dict[str, Any] | None:
    """As it is stored: a number is a fixed wait, an object may leave fields out. Raises TypeError or ValueError."""
    if value is None:
        return None
    if isinstance(value, int | float | timedelta) and not isinstance(value, bool):
        wait = seconds(value, "backoff", most=MAX_BACKOFF)
        return {"kind": "fixed", "base": wait, "cap": wait, "jitter": False}
    if not isinstance(value, Mapping):
        raise TypeError(f'backoff must be a number of seconds or an object such as {{"base": 2}}, got {value!r}')
    unknown = [key for key in value if key not in _BACKOFF]
    if unknown:
        raise ValueError(f"backoff has no field {unknown[0]!r}; it has {', '.join(_BACKOFF)}")
    made = {**_BACKOFF, **value}
    if made["kind"] not in ("exponential", "fixed"):
        raise ValueError(f'backoff kind must be "exponential" or "fixed", got {made["kind"]!r}')
    if not isinstance(made["jitter"], bool):
        raise TypeError(f"backoff jitter must be true or false, got {made['jitter']!r}")
    made["base"] = seconds(made["base"], "backoff base", most=MAX_BACKOFF)
    if "cap" not in value:
        made["cap"] = max(made["cap"], made["base"])
    made["cap"] = seconds(made["cap"], "backoff cap", least=made["base"], most=MAX_BACKOFF)
    return made
