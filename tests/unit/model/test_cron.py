from __future__ import annotations

import itertools
import re
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.model.cron import ALIASES, parse_cron


def first(text: str, after: str, count: int = 3, *, seconds: bool = False) -> list[str]:
    start = datetime.fromisoformat(after)
    return [str(at) for at in itertools.islice(parse_cron(text, seconds=seconds).matches(start), count)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has 0 fields instead of 5"),
        ("* * * *", "has 4 fields instead of 5 (minute, hour, day of month, month, day of week)"),
        ("* * * * * *", "for six fields say seconds: true"),
        ("*/61 * * * *", "minute '*/61': the step must be from 1 to 59"),
        ("5/0 * * * *", "minute '5/0': the step must be from 1 to 59"),
        ("* 24 * * *", "hour '24' must be from 0 to 23"),
        ("* * 0 * *", "day of month '0' must be from 1 to 31"),
        ("* * * 13 *", "month '13' must be from 1 to 12 or JAN to DEC"),
        ("* * * * MOON", "day of week 'MOON' must be from 0 to 7 or SUN to SAT"),
        ("* * * * FRI-MON", "runs backwards; write two ranges"),
        ("* 22-4 * * *", "write two ranges: 22-23,0-4"),
        ("* , * * *", "hour '' is not understood"),
        ("*-5 * * * *", "a range needs two values"),
        ("0 0 30 2 *", "never matches any day"),
        ("0 0 31 4,6 *", "never matches any day"),
        ("@reboot", "'@reboot' is not known; known are @annually"),
        ("٣ * * * *", "is not understood"),
        ("1" * 201, "is longer than 200 characters"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_cron(text)


def test_six_fields_are_wanted_where_seconds_are() -> None:
    with pytest.raises(ValueError, match="has 5 fields instead of 6"):
        parse_cron("* * * * *", seconds=True)


def test_names_and_aliases() -> None:
    assert first("0 9 * jan mon-fri", "2026-01-02T10:00") == [
        "2026-01-05 09:00:00", "2026-01-06 09:00:00", "2026-01-07 09:00:00",
    ]  # fmt: skip
    for alias in ALIASES:
        assert first(alias, "2026-01-01T00:30", 1)


def test_either_of_two_restricted_day_fields_matches() -> None:
    assert first("0 0 13 * FRI", "2026-02-01") == ["2026-02-06 00:00:00", "2026-02-13 00:00:00", "2026-02-20 00:00:00"]
    assert first("0 0 */2 * FRI", "2026-02-01", 2) == ["2026-02-13 00:00:00", "2026-02-27 00:00:00"]


def test_29_february_is_found_across_2100() -> None:
    assert first("0 0 29 2 *", "2096-03-01", 1) == ["2104-02-29 00:00:00"]


def test_the_last_day_and_the_nth_weekday() -> None:
    assert first("0 0 L * *", "2026-02-01", 1) == ["2026-02-28 00:00:00"]
    assert first("0 0 * * FRI#2", "2026-02-01", 1) == ["2026-02-13 00:00:00"]


def test_sunday_has_two_numbers() -> None:
    assert first("0 0 * * 0", "2026-02-02", 3) == first("0 0 * * 7", "2026-02-02", 3)


@pytest.mark.parametrize(
    ("text", "wall"), [("30 2 * * *", True), ("0 9-17 * * *", True), ("*/5 2 * * *", False), ("0 * * * *", False)]
)
def test_wall_clock_jobs_have_a_fixed_hour_and_minute(text: str, wall: bool) -> None:
    assert parse_cron(text).wall_clock is wall


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text("0123456789*/-,LWJANMONabc# \t@", max_size=30), st.booleans())
def test_any_text_is_refused_with_a_reason_or_has_a_next_time(text: str, seconds: bool) -> None:
    try:
        cron = parse_cron(text, seconds=seconds)
    except ValueError:
        return
    assert next(cron.matches(datetime(2026, 1, 1)))
