"""A slow opinion on when a schedule fires: it walks the clock second by second, or minute by minute where that will do.

A cron expression with a fixed hour and minute means times of the day: one that the clocks skip comes at the end of the
gap or not at all, one that occurs twice comes as the schedule says. Any other keeps its pace.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

MARGIN = timedelta(hours=3)  # clocks are turned by no more, in any run that is judged
WORDS = {
    word: str(number)
    for text, first in (("jan feb mar apr may jun jul aug sep oct nov dec", 1), ("sun mon tue wed thu fri sat", 0))
    for number, word in enumerate(text.split(), first)
}
SHORT = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def times(definition: dict[str, Any], anchor: float, after: float, until: float) -> list[float]:
    """Of the written definition of a schedule, later than `after`, up to `until`; seconds since the epoch."""
    start, end = (_seconds(definition.get(name)) for name in ("start_at", "end_at"))
    low, high = after if start is None else max(after, start - 1e-6), until if end is None else min(until, end)
    if definition.get("cron"):
        found = _cron(definition, low, high)
    elif definition.get("every"):
        first, step = start if start is not None else anchor, definition["every"]
        number = max(0, int((low - first) / step) - 1)
        found = []
        while (at := round(first + number * step, 3)) <= high:
            found.append(at)
            number += 1
    else:
        found = [_seconds(definition["at"]) or 0.0]
    return [at for at in found if low < at <= high]


def _seconds(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _cron(definition: dict[str, Any], low: float, high: float) -> list[float]:
    text = SHORT.get(definition["cron"].lower(), definition["cron"].lower())
    parts = text.split() if definition.get("seconds") else ["0", *text.split()]
    for word, number in WORDS.items():
        parts = [part.replace(word, number) for part in parts]
    sets = [_numbers(part, *bounds) for part, bounds in zip(parts, RANGES, strict=True)]
    starred = parts[3].startswith("*") or parts[5].startswith("*")
    daily = not set("*/") & set(parts[1] + parts[2])
    step = timedelta(seconds=1 if len(sets[0]) > 1 or 0 not in sets[0] else 60)

    def fits(local: datetime) -> bool:
        plain = (local.second, local.minute, local.hour, local.day, local.month)
        if any(plain[place] not in sets[place] for place in (0, 1, 2, 4)):
            return False
        by_day, by_weekday = local.day in sets[3], local.isoweekday() % 7 in {one % 7 for one in sets[5]}
        return by_day and by_weekday if starred else by_day or by_weekday

    zone, found = ZoneInfo(definition.get("timezone", "UTC")), list[datetime]()
    came: dict[datetime, list[datetime]] = {}  # by wall clock
    at = datetime.fromtimestamp(int(low) // 60 * 60, UTC) - MARGIN
    before = at.astimezone(zone).replace(tzinfo=None)
    while at.timestamp() <= high + MARGIN.total_seconds():
        local = at.astimezone(zone).replace(tzinfo=None)
        skipped = (before + step * number for number in range(1, (local - before) // step))
        if daily and definition.get("dst_gap", "shift") == "shift" and any(fits(one) for one in skipped):
            found.append(at)
        if fits(local):
            came.setdefault(local, []).append(at)
        before = local
        at += step
    which = definition.get("dst_fold", "first")
    for moments in came.values():
        found += moments if which == "both" or not daily else [moments[0 if which == "first" else -1]]
    return sorted({one.timestamp() for one in found})


def _numbers(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        body, _, step = part.partition("/")
        first, _, last = body.partition("-")
        begin = low if body == "*" else int(first)
        end = high if body == "*" or (step and not last) else int(last or first)
        found.update(range(begin, end + 1, int(step or 1)))
    return found
