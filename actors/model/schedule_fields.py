"""What a schedule may be: one judge for every door that definitions come through."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from actors.model import zones
from actors.model.cron import MAX_LENGTH, parse_cron
from actors.model.fields import Field, Instant, Seconds, Switch, Text, Whole, object_schema
from actors.model.recurrence import Fold, Gap
from actors.model.schedule import DEFAULT_CAP, DEFAULT_WINDOW, CatchUp, Definition, Overlap
from actors.model.schedule_form import OF_ONE, TEMPLATE, TIMES_OF_TASKS, template_of, time_text
from actors.model.submission import TASK, read_fields, read_task
from actors.model.wrong import Wrong, json_kind, shown

YEAR = 366 * 86_400.0  # seconds
PERIOD_STEP = 0.001  # seconds: nominal times are whole milliseconds
MOST_REASON = 500  # characters
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", re.ASCII)
NAME_WANTED = "must have 1 to 100 letters, digits, '.', '_', ':' or '-', and begin with a letter or digit"
_INSTEAD = {"run_at": "start_at, at or jitter", "delay": "jitter", "expires_at": "catch_up"}


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ScheduleName:
    """Part of an address."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not str:
            found.append(Wrong(field, "wrong_type", f"must be a string, not {json_kind(value)}"))
        elif _NAME.fullmatch(value) is None:
            found.append(Wrong(field, "invalid", f"{shown(value)} {NAME_WANTED}"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_NAME.pattern}$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    of: type[StrEnum]

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        words = [str(one) for one in self.of]
        if type(value) is not str or value not in words:
            given = shown(value) if type(value) is str else json_kind(value)
            found.append(Wrong(field, "invalid", f"must be one of {', '.join(words)}, not {given}"))
            return None
        return self.of(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": [str(one) for one in self.of]}


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds between two nominal times."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) not in (int, float):
            found.append(Wrong(field, "wrong_type", f"must be a number of seconds, not {json_kind(value)}"))
        elif not 1 <= value <= 10 * YEAR:
            detail = f"must be from 1 second to ten years ({10 * YEAR:g} seconds), got {shown(value, 24)}"
            found.append(Wrong(field, "out_of_range", detail))
        elif round(value, 3) != value:
            found.append(Wrong(field, "invalid", f"must be whole milliseconds, got {shown(value, 24)}"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": 1, "maximum": 10 * YEAR}


@dataclass(frozen=True, slots=True)
class Template:
    """A submission without times of its own; becomes its stored form."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        if type(value) is not dict:
            found.append(Wrong(field, "wrong_type", f"must be an object, not {json_kind(value)}"))
            return None
        before = len(found)
        for name in sorted(TIMES_OF_TASKS & value.keys()):
            detail = f"the schedule decides when its tasks run: leave it out; see {_INSTEAD[name]}"
            found.append(Wrong(f"{field}.{name}", "conflict", detail))
        for name in sorted(OF_ONE & value.keys()):
            detail = "tasks of a schedule neither depend on others nor replace them: leave it out; see overlap"
            found.append(Wrong(f"{field}.{name}", "conflict", detail))
        rest = {name: one for name, one in value.items() if name not in TIMES_OF_TASKS | OF_ONE}
        task, wrong = read_task(rest, datetime.now(UTC), _encode, where=field)
        found += wrong
        return None if task is None or len(found) > before else template_of(task, rest.get("args", {}))

    def schema(self) -> dict[str, Any]:
        fields = {name: TASK[name] for name in TEMPLATE}
        return object_schema(fields, "A task to post for each slot: as in POST /tasks, without times.")


_CRON = "Five fields (six with seconds: true), or @daily and its like"
SCHEDULE: Mapping[str, Field] = {
    "name": Field(kind=ScheduleName(), required=True),
    "cron": Field(kind=Text(MAX_LENGTH), nullable=True, description=_CRON),
    "every": Field(kind=Period(), nullable=True, description="Seconds"),
    "at": Field(kind=Instant(), nullable=True, description="Once"),
    "seconds": Field(kind=Switch(), default=False, description="cron has six fields, seconds first"),
    "timezone": Field(kind=Text(zones.MOST), default="UTC", description="Of the cron expression: an IANA name"),
    "dst_gap": Field(kind=Choice(Gap), default="shift", description="A wall-clock time that the clocks skip"),
    "dst_fold": Field(kind=Choice(Fold), default="first", description="A wall-clock time that occurs twice"),
    "overlap": Field(kind=Choice(Overlap), default="allow", description="A slot while a task of it is unfinished"),
    "catch_up": Field(kind=Choice(CatchUp), default="last", description="Slots that are late by more than 60 s"),
    "catch_up_window": Field(kind=Seconds(YEAR), default=DEFAULT_WINDOW, description="Seconds; for catch_up all"),
    "catch_up_cap": Field(kind=Whole(1, 1_000), default=DEFAULT_CAP, description="Slots; for catch_up all"),
    "jitter": Field(kind=Seconds(86_400), default=0, description="At most so many seconds later; the same for a slot"),
    "start_at": Field(kind=Instant(), nullable=True),
    "end_at": Field(kind=Instant(), nullable=True),
    "paused": Field(kind=Switch(), default=False),
    "task": Field(kind=Template(), required=True),
}
NAMED = {**SCHEDULE, "name": replace(SCHEDULE["name"], required=False, description="That of the address")}
CHANGE = {name: replace(field, required=False) for name, field in NAMED.items()}
PAUSE: Mapping[str, Field] = {"reason": Field(kind=Text(MOST_REASON), nullable=True)}
SPAN: Mapping[str, Field] = {name: Field(kind=Instant(), required=True) for name in ("from", "until")}
RULES = ("cron", "every", "at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A schedule that somebody asks for; checked."""

    name: str
    definition: Definition
    paused: bool | None  # None: as it is


def read_schedule(
    value: object, now: datetime, *, name: str | None = None, stored: Definition | None = None
) -> tuple[Wanted | None, list[Wrong]]:
    """The schedule that a JSON object asks for, and what is wrong with it; None when anything is.

    `name`: from the address, so that the body need not repeat it. `stored`: what it replaces.
    """
    found: list[Wrong] = []
    if name is not None and type(value) is dict:
        if value.get("name", name) != name:
            found.append(Wrong("name", "conflict", f"the address says {shown(name)}: leave it out, or write the same"))
        value = {**value, "name": name}
    made = read_fields(value, SCHEDULE, "", found)
    if found:
        return None, found
    paused = made.pop("paused", None)
    given_name = made.pop("name")
    found = list(_between(made, now, stored))
    if found:
        return None, found
    return Wanted(name=given_name, definition=Definition(**made), paused=paused), found


def patched(stored: Mapping[str, Any], patch: object, found: list[Wrong]) -> object:
    """A written definition with some fields changed; a new rule replaces the one before."""
    if type(patch) is not dict:
        found.append(Wrong("", "wrong_type", f"must be an object, not {json_kind(patch)}"))
        return patch
    if not patch:
        found.append(Wrong("", "missing", f"give at least one of {', '.join(SCHEDULE)}"))
    kept = dict(stored)
    if any(patch.get(rule) is not None for rule in RULES):
        kept |= dict.fromkeys(RULES)
        if patch.get("cron") is None:
            kept["seconds"] = False
    return {**kept, **patch}


def _between(made: dict[str, Any], now: datetime, stored: Definition | None) -> list[Wrong]:
    """What is wrong between fields that are right by themselves."""
    rules = [rule for rule in RULES if made.get(rule) is not None]
    if len(rules) != 1:
        what = f"{' and '.join(rules)} are there" if rules else "none is there"
        return [Wrong(rules[-1] if rules else "cron", "conflict", f"give one of cron, every or at; {what}")]
    found = [*_wrong_rule(made, now, stored), *_wrong_span(made, now)]
    if not found and rules != ["at"] and Definition(**made).next_after(now, now) is None:
        found.append(Wrong(rules[0], "out_of_range", "it never fires between now, start_at and end_at"))
    return found


def _wrong_rule(made: Mapping[str, Any], now: datetime, stored: Definition | None) -> list[Wrong]:
    found: list[Wrong] = []
    if (zone := zones.problem(made.get("timezone", "UTC"))) is not None:
        found.append(Wrong("timezone", "invalid", zone))
    if made.get("cron") is None:
        if made.get("seconds"):
            found.append(Wrong("seconds", "conflict", "only a cron expression has six fields: leave it out"))
    else:
        try:
            parse_cron(made["cron"], seconds=made.get("seconds", False))
        except ValueError as error:
            found.append(Wrong("cron", "invalid", str(error)))
    at = made.get("at")
    if at is not None and at <= now and (stored is None or stored.at != at):
        found.append(Wrong("at", "out_of_range", f"{time_text(at)} is past: it would never fire; post a task instead"))
    return found


def _wrong_span(made: Mapping[str, Any], now: datetime) -> list[Wrong]:
    start, end, at = made.get("start_at"), made.get("end_at"), made.get("at")
    found: list[Wrong] = []
    if end is not None and start is not None and end <= start:
        found.append(Wrong("end_at", "out_of_range", f"must be after start_at ({time_text(start)})"))
    elif end is not None and end <= now:
        found.append(Wrong("end_at", "out_of_range", f"{time_text(end)} is past: it would never fire"))
    for name, one in (("start_at", start), ("end_at", end)):
        if at is not None and one is not None:
            found.append(Wrong(name, "conflict", "a schedule that fires once, at its time, has neither: leave it out"))
    return found


def interval(value: object, now: datetime) -> tuple[tuple[datetime, datetime] | None, list[Wrong]]:
    """Of a backfill: from and until, both of the past."""
    found: list[Wrong] = []
    made = read_fields(value, SPAN, "", found)
    if not found and made["until"] <= made["from"]:
        found.append(Wrong("until", "out_of_range", "must be after from"))
    if not found and made["until"] > now:
        found.append(Wrong("until", "out_of_range", f"{time_text(made['until'])} is not past: what is to come fires"))
    return (None if found else (made["from"], made["until"])), found


def _encode(args: Any) -> str:
    return json.dumps(args, ensure_ascii=False, separators=(",", ":"))
