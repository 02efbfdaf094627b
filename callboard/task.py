"""The decorator that makes a function a handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

from callboard.arguments import Arguments, hints_of
from callboard.context import Context
from callboard.definition import (
    Definition,
    checked_backoff,
    checked_isolation,
    checked_name,
    checked_timeout,
    checked_tries,
)
from callboard.registry import place_of, register

F = TypeVar("F", bound=Callable[..., Any])


@overload
def task(function: F, /) -> F: ...


@overload
def task(
    *,
    name: str | None = None,
    queue: str | None = None,
    retries: int | None = None,
    max_tries: int | None = None,
    timeout: float | timedelta | None = None,
    backoff: float | timedelta | Mapping[str, Any] | None = None,
    isolation: Literal["process"] | None = None,
) -> Callable[[F], F]: ...


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    queue: str | None = None,
    retries: int | None = None,
    max_tries: int | None = None,
    timeout: float | timedelta | None = None,
    backoff: float | timedelta | Mapping[str, Any] | None = None,
    isolation: Literal["process"] | None = None,
) -> Any:
    """Registers a function as the handler of a task name and returns it unchanged.

    An `async def` runs on Trio in a cancel scope of its own, a plain function in a thread. A first parameter that
    is named `ctx` or annotated `Context` gets the Context; the others are the task's arguments, checked against
    their type hints before each call.

    name: the task's name; default: the function's own.
    queue: the queue of tasks that name none.
    retries, or max_tries = retries + 1: how often a failure is tried again; default 3 retries.
    timeout: seconds, or a timedelta; default: none.
    backoff: seconds between tries, or {"kind": "exponential" | "fixed", "base", "cap", "jitter"} in seconds.
    isolation: "process" gives each attempt an executor to itself, which is killed at a timeout or cancel.

    Raises TypeError or ValueError for a wrong option or function, and for a name that another function has.
    """
    options: dict[str, Any] = {
        "queue": None if queue is None else checked_name(queue, "queue"),
        "max_tries": checked_tries(retries, max_tries),
        "timeout": checked_timeout(timeout),
        "backoff": checked_backoff(backoff),
        "isolated": checked_isolation(isolation),
    }
    given = None if name is None else checked_name(name, "name")

    def decorate(function: F) -> F:
        register(define(function, given, options))
        return function

    if function is None:
        return decorate
    if isinstance(function, str):
        raise TypeError(f"@task({function!r}): write @task(name={function!r})")
    return decorate(function)


def define(function: Callable[..., Any], name: str | None, options: Mapping[str, Any]) -> Definition:
    """Looks at the function. Raises TypeError or ValueError."""
    _check_kind(function)
    shown = getattr(function, "__name__", type(function).__name__)
    parameters = list(inspect.signature(function).parameters.values())
    hints = hints_of(function)
    wants_context = bool(parameters) and _is_context(parameters[0], hints, may_be_named=True)
    rest = parameters[1:] if wants_context else parameters
    for parameter in rest:
        if _is_context(parameter, hints, may_be_named=False):
            raise TypeError(f"{shown}: the Context must be its first parameter, not {parameter.name!r}")
    return Definition(
        name=name if name is not None else checked_name(shown, "name"),
        function=function,
        place=place_of(function),
        is_async=_is_async(function),
        wants_context=wants_context,
        arguments=Arguments(shown, rest, hints),
        **options,
    )


def _check_kind(function: Callable[..., Any]) -> None:
    if isinstance(function, staticmethod | classmethod | type) or not callable(function):
        raise TypeError(f"@task decorates functions, not {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is a generator: a handler returns one result; return a list instead")


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any], *, may_be_named: bool) -> bool:
    hint = hints.get(parameter.name, Any)
    if isinstance(hint, type) and issubclass(hint, Context):
        return True
    written = parameter.annotation  # a name that only type checkers import stays a string
    if isinstance(written, str) and written.rpartition(".")[2] == "Context" and hint is Any:
        return True
    return may_be_named and parameter.name == "ctx"
