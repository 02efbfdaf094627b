"""A second, slow implementation of when a cron schedule fires: it walks every minute, and shares no code with ours."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MARGIN = timedelta(hours=25)  # no clock was ever turned back further since 1970
NAMES = {
    name: str(number)
    for names, first in (("jan feb mar apr may jun jul aug sep oct nov dec", 1), ("sun mon tue wed thu fri sat", 0))
    for number, name in enumerate(names.split(), first)
}


class SlowCron:
    """Five fields of numbers, names, lists, ranges and steps."""

    def __init__(self, text: str) -> None:
        self.texts = [self._spell(field) for field in text.lower().split()]
        minute, hour, day, month, weekday = self.texts
        self.minutes, self.hours = self._set(minute, 0, 59), self._set(hour, 0, 23)
        self.days, self.months = self._set(day, 1, 31), self._set(month, 1, 12)
        self.weekdays = {number % 7 for number in self._set(weekday, 0, 7)}

    @staticmethod
    def _spell(field: str) -> str:
        for name, number in NAMES.items():
            field = field.replace(name, number)
        return field

    @staticmethod
    def _set(field: str, low: int, high: int) -> set[int]:
        found: set[int] = set()
        for part in field.split(","):
            body, _, step = part.partition("/")
            if body == "*":
                first, last = low, high
            elif "-" in body:
                first, last = map(int, body.split("-"))
            else:
                first, last = int(body), high if step else int(body)
            found.update(range(first, last + 1, int(step or 1)))
        return found

    @property
    def fixed(self) -> bool:
        return not set("*/") & set(self.texts[0] + self.texts[1])

    def fits(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        weekday = calendar.weekday(local.year, local.month, local.day)
        by_day, by_weekday = local.day in self.days, (weekday + 1) % 7 in self.weekdays
        starred = self.texts[2][0] == "*" or self.texts[4][0] == "*"
        return by_day and by_weekday if starred else by_day or by_weekday


def walk(
    text: str, zone: str, start: datetime, end: datetime, *, gap: str = "shift", fold: str = "first"
) -> list[datetime]:
    """All instants in (start, end], of which both are whole minutes in UTC."""
    cron, place = SlowCron(text), ZoneInfo(zone)
    found: list[datetime] = []
    by_local: dict[datetime, list[datetime]] = {}  # wall-clock time → when it came
    at = start - MARGIN
    previous = at.astimezone(place).replace(tzinfo=None)
    while at <= end + MARGIN:
        local = at.astimezone(place).replace(tzinfo=None)
        if cron.fixed and gap == "shift":
            missing = [previous + MINUTE * step for step in range(1, (local - previous) // MINUTE)]
            if any(cron.fits(one) for one in missing):
                found.append(at)
        if cron.fits(local):
            by_local.setdefault(local, []).append(at)
        previous = local
        at += MINUTE
    for times in by_local.values():
        found += times if fold == "both" or not cron.fixed else [times[0] if fold == "first" else times[-1]]
    return sorted({when for when in found if start < when <= end})
