"""When a schedule will fire, with what the changes of the clocks do to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from actors.model.firing import run_at
from actors.model.recurrence import END, Dst, Fold, Gap, Instant
from actors.model.schedule import Schedule

IN_GAP = "the clocks skip this time, and dst_gap is skip"
IN_FOLD = "this time occurs twice, and dst_fold says which one counts"
PAUSED = "the schedule is paused"
AHEAD = timedelta(days=366 * 20)  # nothing is shown beyond it: who looks that far keeps others waiting


@dataclass(frozen=True, slots=True)
class Previewed:
    slot_at: datetime
    run_at: datetime  # with jitter
    dst: str
    skipped: str | None  # why it will not fire


def preview(schedule: Schedule, now: datetime, count: int) -> list[Previewed]:
    """The next `count` nominal times of the next AHEAD, and those between that do not fire."""
    found = []
    end = now + AHEAD
    if schedule.definition.end_at is None or schedule.definition.end_at > end:
        schedule = replace(schedule, definition=replace(schedule.definition, end_at=end))
    for one, skipped in itertools.islice(_marked(schedule, now), count):
        reason = PAUSED if schedule.paused else skipped
        found.append(Previewed(one.at, run_at(schedule, one.at), one.dst.value, reason))
    return found


def _marked(schedule: Schedule, now: datetime) -> Iterator[tuple[Instant, str | None]]:
    """Every time that any choice of policies would fire, with the reason why this one does not."""
    definition = schedule.definition
    if definition.cron is None:
        yield from ((one, None) for one in schedule.times(now))
        return
    every = replace(definition, dst_gap=Gap.SHIFT, dst_fold=Fold.BOTH)
    real = schedule.times(now)
    following = next(real, None)
    for one in every.times(schedule.anchor, now):
        if following is not None and following.at == one.at:
            yield following, None
            following = next(real, None)
        elif one.at < END:
            yield one, IN_GAP if one.dst is Dst.SHIFTED else IN_FOLD
