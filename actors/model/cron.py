"""Cron expressions: what is accepted, and the local times that match.

Five fields (minute, hour, day of month, month, day of week), or six with seconds first where that is asked for. cronsim
walks the calendar; the checks are ours, because it takes ``*/61`` and ``5/90`` as they come. As in the cron of Debian,
a day matches either of two restricted day fields; a field that begins with ``*`` restricts nothing by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
SEARCH = timedelta(days=366 * 9)  # 29 February may be eight years away: 2096 to 2104
MAX_LENGTH = 200  # characters

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # of the values from `low` on


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, tuple(_MONTHS)),
    _Field("day of week", 0, 7, tuple(_DAYS)),
)
_TERM = re.compile(r"(?P<first>\*|[A-Z0-9]+)(?:-(?P<last>[A-Z0-9]+))?(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that was checked."""

    text: str  # as written, without surplus spaces
    fields: tuple[str, ...]  # six, upper case

    @property
    def wall_clock(self) -> bool:
        """Hour and minute are fixed: it means times of the day, not a distance between them.

        The split of Vixie's cron: such a job keeps its place in the day when the clocks change, one with a wildcard
        or a step in minute or hour keeps its pace.
        """
        return not any("*" in field or "/" in field for field in self.fields[1:3])

    def matches(self, after: datetime) -> Iterator[datetime]:
        """Local times without zone that match, later than `after`, rising; ends where the calendar does."""
        return iter(CronSim(" ".join(self.fields), after))


def parse_cron(text: str, *, seconds: bool = False) -> Cron:
    """Raises ValueError that says what is wrong with the expression, and what would be right."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    written = " ".join(text.split())
    if written.startswith("@"):
        if written.lower() not in ALIASES:
            raise ValueError(f"{written!r} is not known; known are {', '.join(sorted(ALIASES))}")
        parts = ["0", *ALIASES[written.lower()].split()]
    else:
        parts = _split(written.upper(), seconds)
    for part, field in zip(parts, _FIELDS, strict=True):
        _check(part, field)
    cron = Cron(written, tuple(parts))
    _refuse_never(cron)
    return cron


def _split(written: str, seconds: bool) -> list[str]:
    parts = written.split(" ") if written else []
    wanted = 6 if seconds else 5
    if len(parts) == wanted:
        return parts if seconds else ["0", *parts]
    names = ", ".join(field.name for field in _FIELDS[6 - wanted :])
    hint = "; for six fields say seconds: true" if len(parts) == 6 else ""
    raise ValueError(f"has {len(parts)} fields instead of {wanted} ({names}){hint}")


def _check(part: str, field: _Field) -> None:
    for term in part.split(","):
        if field.name == "day of month" and term in ("L", "LW"):
            continue
        if field.name == "day of week" and (special := re.fullmatch(r"([A-Z0-9]+)#([1-5])|([0-9])L", term)):
            _value(special[1] or special[3], field)
            continue
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"{field.name} {term!r} is not understood; write for example {_example(field)}")
        _check_term(match, term, field)


def _check_term(match: re.Match[str], term: str, field: _Field) -> None:
    first, last, step = match["first"], match["last"], match["step"]
    if first == "*":
        if last is not None:
            raise ValueError(f"{field.name} {term!r}: a range needs two values")
    else:
        low = _value(first, field)
        if last is not None and (high := _value(last, field)) < low:
            raise ValueError(
                f"{field.name} {term!r} runs backwards; write two ranges: {first}-{field.high},{field.low}-{high}"
            )
    if step is not None and not 1 <= int(step) <= field.high:
        raise ValueError(f"{field.name} {term!r}: the step must be from 1 to {field.high}")


def _value(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if text.isascii() and text.isdigit() and len(text) <= 2 and field.low <= int(text) <= field.high:
        return int(text)
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    raise ValueError(f"{field.name} {text!r} must be from {field.low} to {field.high}{names}")


def _example(field: _Field) -> str:
    few = f"{field.low + 1},{field.low + 3}"
    return f"*, {field.low + 1}, {few}, {field.low + 1}-{field.low + 3} or */2"


def _refuse_never(cron: Cron) -> None:
    """An expression that no day of the calendar fits, like 30 February."""
    start = datetime(2096, 3, 1)
    try:
        found = next(cron.matches(start), None)
    except CronSimError:
        found = None
    if found is None or found > start + SEARCH:
        raise ValueError(f"{cron.text!r} never matches any day")
