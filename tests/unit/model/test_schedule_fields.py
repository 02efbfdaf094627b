"""What a schedule may be, and what is said of one that can't be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from actors.model import zones
from actors.model.firing import planned
from actors.model.recurrence import Instant
from actors.model.schedule_changes import created
from actors.model.schedule_fields import interval, patched, read_schedule
from actors.model.schedule_form import definition_of, new_task, written
from actors.model.wrong import Wrong

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {"name": "nightly", "cron": "30 2 * * *", "task": {"name": "report"}}


def wrong(value: object, **options: Any) -> list[tuple[str, str]]:
    made, found = read_schedule(value, NOW, **options)
    assert (made is None) == bool(found)
    return [(one.field, one.detail) for one in found]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"cron": "*/61 * * * *"}, "cron", "from 1 to 59"),
        ({"cron": "0 0 30 2 *"}, "cron", "never matches"),
        ({"cron": "@reboot"}, "cron", "not known"),
        ({"cron": None}, "cron", "give one of cron, every or at; none is there"),
        ({"every": 60}, "every", "cron and every are there"),
        ({"cron": None, "every": 0.5}, "every", "from 1 second"),
        ({"cron": None, "every": 1.00001}, "every", "whole milliseconds"),
        ({"cron": None, "every": True}, "every", "must be a number of seconds"),
        ({"cron": None, "at": "2026-03-02T11:00:00Z"}, "at", "is past"),
        ({"cron": None, "every": 5, "seconds": True}, "seconds", "only a cron"),
        ({"timezone": "Europe/Berln"}, "timezone", "did you mean Europe/Berlin"),
        ({"timezone": "berlin"}, "timezone", "did you mean Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "timezone", "no time zone"),
        ({"dst_gap": "jump"}, "dst_gap", "must be one of shift, skip"),
        ({"overlap": "never"}, "overlap", "allow, skip, queue_one, cancel_running"),
        ({"catch_up_cap": 0}, "catch_up_cap", "from 1 to 1000"),
        ({"end_at": "2026-01-01T00:00:00Z"}, "end_at", "past"),
        ({"start_at": "2027-01-02T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"}, "end_at", "after start_at"),
        ({"cron": "0 0 29 2 *", "end_at": "2027-01-01T00:00:00Z"}, "cron", "never fires between"),
        ({"name": "no spaces"}, "name", "letters, digits"),
        ({"name": "a/b"}, "name", "letters, digits"),
        ({"task": {"name": "x", "run_at": "2027-01-01T00:00:00Z"}}, "task.run_at", "the schedule decides"),
        ({"task": {"name": "x", "depends_on": ["1"]}}, "task.depends_on", "neither depend on others"),
        ({"task": {"name": "x", "priority": 9}}, "task.priority", "from 1 to 4"),
        ({"task": {}}, "task.name", "required"),
        ({"task": None}, "task", "must be an object"),
        ({"crn": "1"}, "crn", "did you mean cron"),
    ],
)
def test_a_wrong_schedule_is_refused_with_field_value_and_way_out(
    change: dict[str, Any], field: str, said: str
) -> None:
    found = wrong({**GOOD, **change})
    assert [one for one, _ in found] == [field]
    assert said in found[0][1]


def test_the_name_comes_from_the_address_where_there_is_one() -> None:
    body = {name: one for name, one in GOOD.items() if name != "name"}
    assert wrong(body) == [("name", "this field is required")]
    assert not wrong(body, name="nightly")
    assert wrong(GOOD, name="other")[0][0] == "name"


def test_a_single_time_that_passed_may_be_written_again_but_not_anew() -> None:
    body = {"name": "once", "at": "2026-03-02T11:00:00Z", "task": {"name": "x"}}
    then, _ = read_schedule(body, datetime(2026, 3, 1, tzinfo=UTC))
    assert then is not None
    assert not wrong(body, stored=then.definition)
    assert wrong(body)


def test_a_definition_survives_being_written_down() -> None:
    body = {**GOOD, "start_at": "2026-04-01T00:00:00Z", "dst_fold": "both", "catch_up": "all", "jitter": 3}
    body["task"] = {"name": "report", "args": {"a": [1, "ü"]}, "backoff": 5, "tags": ["t"], "priority": 3}
    made, _ = read_schedule(body, NOW)
    assert made is not None
    assert definition_of(written(made.definition)) == made.definition
    assert definition_of({**written(made.definition), "of_a_later_release": 1}) == made.definition
    again, found = read_schedule({**written(made.definition), "name": "nightly"}, NOW)
    assert not found
    assert again == made
    schedule = created("nightly", made.definition, NOW, id=4)
    task = new_task(schedule, planned(schedule, Instant(NOW)))
    assert (task.name, task.args, task.priority, task.tags) == ("report", '{"a":[1,"ü"]}', 3, ["t"])
    assert task.backoff is not None
    assert (task.schedule_id, task.metadata) == (4, {"callboard.slot_at": "2026-03-02T12:00:00Z"})


def test_a_patch_replaces_the_rule_and_keeps_the_rest() -> None:
    made, _ = read_schedule({**GOOD, "cron": "0 0 2 * * *", "seconds": True, "overlap": "skip"}, NOW)
    assert made is not None
    found: list[Wrong] = []
    changed, _ = read_schedule(patched(written(made.definition), {"every": 5}, found), NOW, name="nightly")
    assert not found
    assert changed is not None
    assert (changed.definition.every, changed.definition.cron, changed.definition.overlap) == (5, None, "skip")
    patched(written(made.definition), {}, found)
    assert "give at least one" in found[0].detail


def test_an_interval_of_a_backfill_is_past() -> None:
    span, found = interval({"from": "2026-03-01T00:00:00Z", "until": "2026-03-02T12:00:00Z"}, NOW)
    assert span is not None
    assert not found
    assert "not past" in interval({"from": "2026-03-01T00:00:00Z", "until": "2026-03-03T00:00:00Z"}, NOW)[1][0].detail
    assert "after from" in interval({"from": "2026-03-01T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, NOW)[1][0].detail
    assert [one.field for one in interval({}, NOW)[1]] == ["from", "until"]


def test_the_time_zone_data_says_its_version() -> None:
    assert zones.data_version() == "" or zones.data_version()[:4].isdigit()
    assert zones.problem("Europe/Berlin") is zones.problem("UTC") is None
