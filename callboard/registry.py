"""The handlers of this process, by task name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from callboard.definition import Definition

_definitions: dict[str, Definition] = {}
definitions: Mapping[str, Definition] = MappingProxyType(_definitions)


class DuplicateHandler(ValueError):
    """Two functions want the same task name."""


def register(definition: Definition) -> None:
    """Raises DuplicateHandler for a name that another function has; a reloaded module replaces its own."""
    held = _definitions.get(definition.name)
    if held is not None and held.place != definition.place:
        raise DuplicateHandler(
            f"two handlers are named {definition.name!r}: {held.place} and {definition.place}; "
            'give one of them another name with @task(name="...")'
        )
    _definitions[definition.name] = definition


def definition_of(function: Callable[..., Any]) -> Definition:
    """Of a decorated function. Raises LookupError for any other."""
    for definition in _definitions.values():
        if definition.function is function:
            return definition
    name = getattr(function, "__qualname__", repr(function))
    raise LookupError(f"{name} is no handler: decorate it with @task, or name the task as a string")


def forget(definition: Definition) -> None:
    """Takes a handler out again; for tests."""
    if _definitions.get(definition.name) is definition:
        del _definitions[definition.name]


def place_of(function: Callable[..., Any]) -> str:
    """`file:line` of a function, for people."""
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return f"{getattr(plain, '__module__', '?')}.{getattr(plain, '__qualname__', repr(plain))}"
    return f"{code.co_filename}:{code.co_firstlineno}"
