"""When schedules fire, against a slow second implementation and against the calendar."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from actors.model.cron import parse_cron
from actors.model.recurrence import CronRule, Dst, EveryRule, Fold, Gap, OnceRule, Rule
from tests.support.slow_cron import walk

# Zone and the days around a change of its clocks.
CHANGES = [
    ("Europe/Berlin", "2026-03-28", "2026-03-30"),
    ("Europe/Berlin", "2026-10-24", "2026-10-26"),
    ("America/New_York", "2026-03-07", "2026-03-09"),
    ("America/New_York", "2026-10-31", "2026-11-02"),
    ("Australia/Lord_Howe", "2026-04-04", "2026-04-06"),  # half an hour
    ("Australia/Lord_Howe", "2026-10-03", "2026-10-05"),
    ("Africa/Casablanca", "2026-02-14", "2026-02-16"),  # Ramadan
    ("Africa/Casablanca", "2026-03-21", "2026-03-23"),
    ("Asia/Kathmandu", "2026-06-01", "2026-06-03"),
    ("Pacific/Apia", "2011-12-29", "2012-01-01"),  # a whole day does not exist
    ("Asia/Beirut", "2026-03-28", "2026-03-30"),  # the gap begins at midnight
    ("Asia/Beirut", "2026-10-24", "2026-10-26"),
]
EXPRESSIONS = [
    "30 2 * * *",
    "0 0 * * *",
    "*/15 * * * *",
    "15,45 1-3 * * *",
    "0 */2 * * *",
    "59 23 * * *",
    "0 12 1,31 * 0",
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(rule: Rule, start: datetime, end: datetime) -> list[datetime]:
    found = (instant.at for instant in rule.after(start))
    return list(itertools.takewhile(lambda at: at <= end, found))


@pytest.mark.parametrize(("zone", "first", "last"), CHANGES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_around_every_change_of_the_clocks_it_agrees_with_a_walk_over_all_minutes(
    zone: str, first: str, last: str, expression: str
) -> None:
    for gap, fold in ((Gap.SHIFT, Fold.FIRST), (Gap.SKIP, Fold.LAST), (Gap.SHIFT, Fold.BOTH)):
        rule = CronRule(parse_cron(expression), ZoneInfo(zone), gap, fold)
        expected = walk(expression, zone, utc(first), utc(last), gap=gap, fold=fold)
        assert fired(rule, utc(first), utc(last)) == expected, (gap, fold)


def random_field(dice: random.Random, low: int, high: int) -> str:
    def value() -> int:
        return dice.randint(low, high)

    kind = dice.randrange(6)
    if kind == 0:
        return "*"
    if kind == 1:
        return f"*/{dice.randint(1, max(2, high // 2))}"
    if kind == 2:
        return ",".join(str(value()) for _ in range(dice.randint(1, 4)))
    if kind == 3:
        one, other = sorted((value(), value()))
        return f"{one}-{other}"
    if kind == 4:
        one, other = sorted((value(), value()))
        return f"{one}-{other}/{dice.randint(1, 5)}"
    return str(value())


def random_expression(dice: random.Random) -> str:
    fields = [random_field(dice, 0, 59), random_field(dice, 0, 23)]
    fields += [dice.choice(("*", "*", random_field(dice, 1, 28))), dice.choice(("*", "*", random_field(dice, 1, 12)))]
    return " ".join([*fields, dice.choice(("*", "*", random_field(dice, 0, 6)))])


def compare_at_random(seed: int, days: int) -> None:
    dice = random.Random(seed)
    expression, zone = random_expression(dice), dice.choice(CHANGES)[0]
    start = utc("2020-01-01") + timedelta(minutes=dice.randrange(60 * 24 * 365 * 6))
    gap, fold = dice.choice(list(Gap)), dice.choice(list(Fold))
    rule = CronRule(parse_cron(expression), ZoneInfo(zone), gap, fold)
    end = start + timedelta(days=days)
    expected = walk(expression, zone, start, end, gap=gap, fold=fold)
    assert fired(rule, start, end) == expected, (seed, expression, zone, gap, fold, start)


@pytest.mark.parametrize("seed", range(12))
def test_random_expressions_agree_with_a_walk_over_all_minutes(seed: int) -> None:
    compare_at_random(seed, days=10)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200))
def test_random_expressions_agree_over_ten_years(seed: int) -> None:
    compare_at_random(10_000 + seed, days=3650)


def rising(rule: Rule, count: int) -> list[datetime]:
    found = [instant.at for instant in itertools.islice(rule.after(utc("2026-01-01")), count)]
    assert all(one < other for one, other in itertools.pairwise(found))
    return found


def test_a_time_within_the_gap_is_shifted_to_its_end_and_says_so() -> None:
    rule = CronRule(parse_cron("30 2 * * *"), ZoneInfo("Europe/Berlin"))
    found = list(itertools.islice(rule.after(utc("2026-03-28T12:00")), 2))
    assert [(one.at, one.dst) for one in found] == [
        (utc("2026-03-29T01:00"), Dst.SHIFTED),
        (utc("2026-03-30T00:30"), Dst.NONE),
    ]


def test_a_time_that_comes_twice_says_so() -> None:
    rule = CronRule(parse_cron("30 2 * * *"), ZoneInfo("Europe/Berlin"), fold=Fold.BOTH)
    found = list(itertools.islice(rule.after(utc("2026-10-24T12:00")), 2))
    assert [(one.at, one.dst) for one in found] == [
        (utc("2026-10-25T00:30"), Dst.REPEATED),
        (utc("2026-10-25T01:30"), Dst.REPEATED),
    ]


def test_it_starts_where_a_fold_has_begun() -> None:
    """Asked within the second pass, the first pass is not forgotten."""
    rule = CronRule(parse_cron("30 2 * * *"), ZoneInfo("Europe/Berlin"))
    assert next(rule.after(utc("2026-10-25T01:10"))).at == utc("2026-10-26T01:30")


def test_seconds_have_a_field_of_their_own() -> None:
    rule = CronRule(parse_cron("*/20 * * * * *", seconds=True), ZoneInfo("UTC"))
    assert [at.second for at in rising(rule, 4)] == [20, 40, 0, 20]


def test_an_interval_counts_from_its_anchor() -> None:
    rule = EveryRule(90.0, utc("2025-12-31T23:59:30"))
    assert rising(rule, 2) == [utc("2026-01-01T00:01:00"), utc("2026-01-01T00:02:30")]
    assert next(EveryRule(60.0, utc("2030-01-01")).after(utc("2026-01-01"))).at == utc("2030-01-01")


def test_once_is_once() -> None:
    rule = OnceRule(utc("2026-05-01"))
    assert rising(rule, 5) == [utc("2026-05-01")]
    assert list(rule.after(utc("2026-05-01"))) == []


def test_asking_again_from_each_answer_gives_the_same_sequence() -> None:
    rule = CronRule(parse_cron("*/30 1-3 * * *"), ZoneInfo("Europe/Berlin"), fold=Fold.BOTH)
    at, found = utc("2026-10-24"), []
    for _ in range(20):
        at = next(rule.after(at)).at
        found.append(at)
    assert found == [one.at for one in itertools.islice(rule.after(utc("2026-10-24")), 20)]
