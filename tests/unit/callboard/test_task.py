"""The decorator: what it refuses, what it registers, and that it leaves the function alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from callboard import Context, task
from callboard.registry import DuplicateHandler, definition_of, definitions, forget

if TYPE_CHECKING:
    from decimal import Decimal as Unseen


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    before = set(definitions)
    yield
    for name in set(definitions) - before:
        forget(definitions[name])


def test_the_function_comes_back_unchanged() -> None:
    def plain(x: int) -> int:
        return x + 1

    assert task(plain) is plain
    assert plain(1) == 2
    assert definitions["plain"].function is plain


def test_the_options_are_kept() -> None:
    @task(name="images.thumb", queue="images", retries=5, timeout=timedelta(seconds=30), backoff=2, isolation="process")
    def thumb() -> None: ...

    found = definition_of(thumb)
    assert (found.name, found.queue, found.max_tries, found.timeout, found.isolated) == (
        "images.thumb", "images", 6, 30.0, True,
    )  # fmt: skip
    assert found.backoff == {"kind": "fixed", "base": 2.0, "cap": 2.0, "jitter": False}


def test_what_is_not_said_stays_open() -> None:
    @task()
    async def quiet() -> None: ...

    found = definition_of(quiet)
    assert (found.queue, found.max_tries, found.timeout, found.backoff, found.isolated) == (None,) * 4 + (False,)
    assert found.is_async


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"retries": -1}, ValueError, "retries must be from 0 to 999, got -1"),
        ({"retries": True}, TypeError, "retries must be a whole number"),
        ({"max_tries": 0}, ValueError, "max_tries must be from 1 to 1000, got 0"),
        ({"retries": 1, "max_tries": 2}, ValueError, "either retries or max_tries"),
        ({"timeout": 0}, ValueError, "timeout must be from 0.001"),
        ({"timeout": "30"}, TypeError, "timeout must be a number of seconds or a timedelta, got '30'"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"backoff": {"bas": 1}}, ValueError, "backoff has no field 'bas'; it has kind, base, cap, jitter"),
        ({"backoff": {"kind": "linear"}}, ValueError, "exponential"),
        ({"backoff": {"base": 9, "cap": 3}}, ValueError, "backoff cap must be from 9"),
        ({"backoff": "2"}, TypeError, "backoff must be a number of seconds or an object"),
        ({"isolation": "thread"}, ValueError, "isolation must be \"process\" or be left out, got 'thread'"),
        ({"queue": "a b"}, ValueError, "queue must have 1 to 200 printable characters"),
        ({"name": ""}, ValueError, "name must have"),
        ({"name": 3}, TypeError, "name must be a string, got 3"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        task(**options)
    assert words in str(caught.value)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="runtime"):
        task(runtime="asyncio")  # type: ignore[call-overload]


def _generator() -> Iterator[int]:
    yield 1


class _Class: ...


def _star(*paths: str) -> None: ...


def _stars(**options: str) -> None: ...


def _late_context(x: int, context: Context) -> None: ...


@pytest.mark.bad_input("CF13")
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_generator, "is a generator"),
        (_Class, "decorates functions"),
        ("name", "write @task\\(name='name'\\)"),
        (_star, "takes \\*paths: .* one parameter paths: list"),
        (_stars, "takes \\*\\*options: .* one parameter options: dict"),
        (_late_context, "the Context must be its first parameter, not 'context'"),
    ],
)
def test_what_can_be_no_handler_is_refused(function: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        task(function)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name must have"):
        task(lambda: None)
    task(name="nothing")(lambda: None)


@pytest.mark.bad_input("CF13")
def test_two_handlers_of_one_name_are_refused_with_both_places() -> None:
    def first() -> None: ...
    def second() -> None: ...

    task(name="same")(first)
    with pytest.raises(DuplicateHandler) as caught:
        task(name="same")(second)
    lines = [function.__code__.co_firstlineno for function in (first, second)]
    assert all(f"test_task.py:{line}" in str(caught.value) for line in lines)


def test_a_reloaded_module_replaces_its_own_handlers() -> None:
    def make() -> Callable[[], None]:
        @task
        def again() -> None: ...

        return again

    make()
    newest = make()
    assert definitions["again"].function is newest


def test_the_context_is_found_by_name_and_by_type() -> None:
    @task
    def named(ctx, x: int) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001

    @task
    def typed(context: Context, x: int) -> None: ...

    @task
    def without(x: int) -> None: ...

    wanted = [definition_of(one).wants_context for one in (named, typed, without)]
    assert wanted == [True, True, False]
    assert list(definition_of(typed).arguments.shown()) == ["x"]


def test_a_hint_that_only_type_checkers_know_costs_its_own_parameter_alone() -> None:
    @task
    def half(x: int, y: Unseen) -> None: ...

    arguments = definition_of(half).arguments
    assert arguments.decode(b'{"x": 1, "y": "anything"}').y == "anything"
    with pytest.raises(ValueError):
        arguments.decode(b'{"x": "1", "y": 2}')
