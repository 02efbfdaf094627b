"""Arguments: what fits goes through, what doesn't is named."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.arguments import Arguments, hints_of


def arguments(function: Callable[..., Any]) -> Arguments:
    return Arguments(function.__name__, inspect.signature(function).parameters.values(), hints_of(function))


def call(function: Callable[..., Any], payload: Any) -> Any:
    """As an executor does; a misfit comes out as the message that a user sees."""
    made, raw = arguments(function), json.dumps(payload).encode()
    try:
        decoded = made.decode(raw)
    except (ValueError, RecursionError) as error:
        raise made.explain(raw, error) from None
    return made.binder(function, (), decoded)


def thumbnail(url: str, width: int = 256, *, mode: Literal["fit", "crop"] = "fit") -> tuple[str, int, str]:
    return url, width, mode


def test_defaults_fill_what_is_left_out() -> None:
    assert call(thumbnail, {"url": "x"}) == ("x", 256, "fit")
    assert call(thumbnail, {"url": "x", "mode": "crop", "width": 1}) == ("x", 1, "crop")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({}, "argument 'url' is missing"),
        ({"url": 1}, "argument 'url': expected `str`, got `int`, value 1"),
        ({"url": "x", "width": "9"}, "argument 'width': expected `int`, got `str`, value \"9\""),
        ({"url": "x", "width": 1.5}, "argument 'width': expected `int`, got `float`, value 1.5"),
        ({"url": "x", "wide": 9}, "argument 'wide' is unknown"),
        ({"url": "x", "mode": "zoom"}, "argument 'mode': "),
        ([1], "the arguments must be a JSON object, got [1]"),
        ({"width": "9", "wide": 1}, "'wide' is unknown; argument 'url' is missing; argument 'width': expected `int`"),
    ],
)
def test_a_misfit_names_the_argument_and_the_signature(payload: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        call(thumbnail, payload)
    assert words in str(caught.value)
    assert "thumbnail(url: str, width: int = 256" in str(caught.value)


@dataclass
class Point:
    x: float
    y: float


def test_hints_make_objects() -> None:
    def draw(at: Point, when: datetime, file: Path, tags: list[str] | None = None) -> Any:
        return at, when.year, file.name, tags

    given_ = {"at": {"x": 1, "y": 2}, "when": "2026-01-02T03:04:05Z", "file": "/tmp/a.txt"}
    made = call(draw, given_)
    assert made == (Point(1, 2), 2026, "a.txt", None)


def test_a_class_that_json_can_not_make_is_not_checked() -> None:
    class Odd:
        pass

    def take(odd: Odd, many: list[Odd], either: Odd | None) -> Any:
        return odd, many, either

    hints = {"odd": Odd, "many": list[Odd], "either": Odd | None}
    made = Arguments("take", inspect.signature(take).parameters.values(), hints)
    decoded = made.decode(b'{"odd": 1, "many": ["x"], "either": {"a": 2}}')
    assert made.binder(take, (), decoded) == (1, ["x"], {"a": 2})


def test_a_default_that_can_change_is_shared_as_in_python() -> None:
    shared = ["a"]

    def take(items: list[str] = shared) -> list[str]:
        return items

    assert call(take, {}) is shared


def test_broken_json_says_so() -> None:
    made = arguments(thumbnail)
    with pytest.raises(msgspec.DecodeError) as caught:
        made.decode(b"{")
    assert "not JSON" in str(made.explain(b"{", caught.value))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_any_payload_either_fits_or_is_explained(payload: Any) -> None:
    raw = msgspec.json.encode(payload)
    made = arguments(thumbnail)
    explained = None
    try:
        url, _, _ = made.binder(thumbnail, (), made.decode(raw))
    except (ValueError, RecursionError) as error:
        explained = made.explain(raw, error)
    assert "thumbnail" in str(explained) if explained else isinstance(url, str)


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.sampled_from(["fit", "crop"]))
def test_what_fits_arrives_as_it_was_sent(url: str, width: int, mode: str) -> None:
    raw = msgspec.json.encode({"url": url, "width": width, "mode": mode})
    made = arguments(thumbnail)
    assert made.binder(thumbnail, (), made.decode(raw)) == (url, width, mode)
