"""NaN and infinity have no place in JSON, and msgspec writes them as null without a word."""

from __future__ import annotations

import math
from typing import Any

import msgspec


def has_infinite(value: Any) -> bool:
    """Whether a number somewhere in it is not finite."""
    waiting = [msgspec.to_builtins(value)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, float):
            if not math.isfinite(one):
                return True
        elif isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
    return False
