"""Results and failures as JSON that PostgreSQL can hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.model import columns
from callboard.errors import Cancelled, CancelReason, Fail, Retry, Snooze
from callboard.executor.bodies import (
    MAX_MESSAGE,
    MAX_RESULT,
    MAX_TRACEBACK,
    InvalidResult,
    ResultTooLarge,
    clean,
    encode_result,
    judge,
)
from callboard.executor.outcomes import Outcome


def test_the_numbers_are_those_of_the_wire() -> None:
    assert {one.name: one.value for one in Outcome} == {one.name: one.value for one in columns.Outcome}


@pytest.mark.parametrize("value", [None, 0, "x", {"a": [1, None, {"b": "\\u0000 written out"}]}, [1.5, True]])
def test_a_result_comes_back(value: Any) -> None:
    assert json.loads(encode_result(value)) == value


@pytest.mark.bad_input("JS30")
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a\x00b", "NUL"),
        ({"a\x00": 1}, "NUL"),
        ("\\\x00", "NUL"),
        ("\ud800", "lone surrogate"),
        (float("nan"), "not finite"),
        ({"a": [1, None, float("inf")]}, "not finite"),
        (object(), "can't be written as JSON"),
    ],
)
def test_a_result_that_can_not_be_kept_is_refused_with_the_reason(value: Any, words: str) -> None:
    with pytest.raises(InvalidResult, match=words):
        encode_result(value)


def test_a_result_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidResult):
        encode_result(value)


@pytest.mark.bad_input("JS30")
def test_a_large_result_is_refused_with_both_sizes() -> None:
    encode_result("x" * (MAX_RESULT - 2))
    with pytest.raises(ResultTooLarge, match=rf"{MAX_RESULT + 1} bytes .* {MAX_RESULT}"):
        encode_result("x" * (MAX_RESULT - 1))


def judged(error: BaseException) -> tuple[Outcome, dict[str, Any]]:
    try:
        raise error
    except BaseException as caught:
        kind, body = judge(caught)
    return kind, json.loads(body)


def test_an_error_is_told_with_its_traceback() -> None:
    kind, body = judged(ValueError("no"))
    assert kind is Outcome.FAILED
    assert (body["type"], body["message"]) == ("ValueError", "no")
    assert "test_bodies.py" in body["traceback"]


def test_wishes_of_the_handler() -> None:
    assert judged(Retry(after=5))[1]["after"] == 5
    assert judged(Retry())[0] is Outcome.FAILED
    assert "after" not in judged(Retry())[1]
    assert judged(Fail("enough"))[0] is Outcome.FAILED_FINAL
    assert judged(Fail("enough"))[1]["message"] == "enough"
    assert judged(Snooze(after=timedelta(minutes=1)))[0] is Outcome.SNOOZED
    later = judged(Snooze(until=datetime.now(UTC) + timedelta(seconds=60)))[1]["after"]
    assert 58 < later <= 60
    assert judged(Snooze(until=datetime(2020, 1, 1, tzinfo=UTC)))[1]["after"] == 0


def test_wishes_come_out_of_a_nursery_too() -> None:
    assert judged(ExceptionGroup("", [Retry(after=3)]))[1]["after"] == 3
    assert judged(ExceptionGroup("", [ValueError(), ExceptionGroup("", [Fail()])]))[0] is Outcome.FAILED_FINAL
    kind, body = judged(ExceptionGroup("", [ValueError(), Retry()]))
    assert (kind, body["type"]) == (Outcome.FAILED, "ExceptionGroup")


@pytest.mark.parametrize(
    ("wish", "options", "words"),
    [
        (Snooze, {}, "either until"),
        (Snooze, {"until": datetime(2026, 1, 1)}, "time zone"),
        (Retry, {"after": -1}, "after must be from 0"),
        (Retry, {"after": "soon"}, "after must be a number of seconds"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(wish: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        wish(**options)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.bad_input("JS30")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Mute(), Cancelled(CancelReason.CANCELLED)])
def test_whatever_is_raised_is_a_failure_of_the_attempt(error: BaseException) -> None:
    assert judged(error)[0] is Outcome.FAILED


def test_long_texts_are_cut_and_made_safe() -> None:
    body = judged(ValueError("\x00\ud800" + "ä" * 100_000))[1]
    assert len(body["message"].encode()) <= MAX_MESSAGE
    assert len(body["traceback"].encode()) <= MAX_TRACEBACK
    assert "\x00" not in body["message"]


@given(st.text(st.characters(codec=None), max_size=50), st.integers(4, 60), st.booleans())
def test_clean_text_is_utf_8_of_bounded_size(text: str, limit: int, keep_end: bool) -> None:
    made = clean(text, limit, keep_end=keep_end)
    assert len(made.encode()) <= limit
    assert "\x00" not in made
