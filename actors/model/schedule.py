"""What a schedule is: a rule that says when, a task that says what, and policies for when things go wrong.

A *nominal time* is an instant at which the rule says that the schedule fires. Each is accounted for exactly once: by a
row of its own (fired, waiting, skipped) or within one gap entry that counts several. `counted_to` is how far that
has come: it only ever rises.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from actors.model.cron import parse_cron
from actors.model.recurrence import CronRule, EveryRule, Fold, Gap, Instant, OnceRule, Rule

DEFAULT_WINDOW = 3600.0  # seconds
DEFAULT_CAP = 100  # missed slots
MICROSECOND = timedelta(microseconds=1)


class Overlap(StrEnum):
    """What becomes of a slot while a task of the schedule is unfinished."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"  # one may wait behind it
    CANCEL_RUNNING = "cancel_running"  # it is asked to stop, and the slot waits until it has


class CatchUp(StrEnum):
    """What becomes of slots that nobody fired in time."""

    NONE = "none"
    LAST = "last"  # the newest fires
    ALL = "all"  # within a window, up to a cap, oldest first


class SlotState(StrEnum):
    """As the ledger has it."""

    FIRED = "fired"
    WAITING = "waiting"  # for the end of the task before
    SKIPPED = "skipped"
    GAP = "gap"  # counts several nominal times that were skipped


class SlotKind(StrEnum):
    """Why a slot is in the ledger."""

    NOMINAL = "nominal"
    TRIGGER = "trigger"  # somebody asked for it now
    BACKFILL = "backfill"  # somebody asked for a nominal time of the past


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a user says of a schedule; checked. Exactly one of cron, every, at is there."""

    task: Mapping[str, Any]  # a submission without times
    cron: str | None = None
    every: float | None = None  # seconds
    at: datetime | None = None
    seconds: bool = False  # cron has six fields
    timezone: str = "UTC"
    dst_gap: Gap = Gap.SHIFT
    dst_fold: Fold = Fold.FIRST
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.LAST
    catch_up_window: float = DEFAULT_WINDOW  # seconds; of catch_up all
    catch_up_cap: int = DEFAULT_CAP  # slots; of catch_up all
    jitter: float = 0.0  # seconds
    start_at: datetime | None = None  # the first nominal time is not before it
    end_at: datetime | None = None  # the last one is not after it

    @property
    def timing(self) -> tuple[Any, ...]:
        """What decides the nominal times: a change of anything else moves none."""
        return (
            self.cron, self.every, self.at, self.seconds, self.timezone, self.dst_gap, self.dst_fold,
            self.start_at, self.end_at,
        )  # fmt: skip

    def rule(self, anchor: datetime) -> Rule:
        """`anchor`: what intervals are counted from, unless there is a start."""
        if self.cron is not None:
            return _cron_rule(self.cron, self.seconds, self.timezone, self.dst_gap, self.dst_fold)
        if self.every is not None:
            return EveryRule(self.every, self.start_at or anchor)
        assert self.at is not None, "one of cron, every, at"
        return OnceRule(self.at)

    def times(self, anchor: datetime, after: datetime) -> Iterator[Instant]:
        """Nominal times later than `after`, rising, within start and end."""
        if self.start_at is not None:
            after = max(after, self.start_at - MICROSECOND)
        found = self.rule(anchor).after(after)
        if self.end_at is None:
            return found
        end = self.end_at
        return itertools.takewhile(lambda one: one.at <= end, found)

    def next_after(self, anchor: datetime, after: datetime) -> datetime | None:
        found = next(self.times(anchor, after), None)
        return None if found is None else found.at


@functools.lru_cache(maxsize=4096)
def _cron_rule(text: str, seconds: bool, timezone: str, gap: Gap, fold: Fold) -> Rule:
    return CronRule(parse_cron(text, seconds=seconds), ZoneInfo(timezone), gap, fold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule as stored."""

    id: int
    name: str
    definition: Definition
    version: int  # of the definition; starts at 1
    anchor: datetime  # what intervals are counted from
    counted_to: datetime  # every nominal time up to here is accounted for
    next_slot_at: datetime | None  # None: there will be no more
    last_slot_at: datetime | None = None  # the last nominal time that has a row
    paused: bool = False
    paused_reason: str | None = None
    paused_at: datetime | None = None
    catching_up: int = 0  # missed slots fired since it was last up to date
    skip_until: datetime | None = None  # nominal times up to here belong to a gap
    skip_reason: str | None = None
    gap_from: datetime | None = None  # the gap entry that is being counted begins here
    created_at: datetime
    updated_at: datetime

    def next_after(self, after: datetime) -> datetime | None:
        return self.definition.next_after(self.anchor, after)

    def times(self, after: datetime) -> Iterator[Instant]:
        return self.definition.times(self.anchor, after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One entry of the ledger as stored."""

    id: int
    slot_at: datetime
    kind: SlotKind
    state: SlotState
    reason: str | None  # why it was skipped, or waits
    task_id: int | None
    run_at: datetime | None  # with jitter
    dst: str  # "", "shifted", "repeated"
    version: int  # of the schedule that decided
    count: int  # nominal times of a gap; else 1
    until: datetime | None  # the last nominal time of a gap
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the schedules of the whole system are doing."""

    now: datetime  # by the database
    next_at: datetime | None  # when the next one is due
    waiting: bool  # slots wait for the end of a task
    overdue: int  # schedules that should have fired and have not, counted up to a bound
    names: tuple[str, ...] = field(default=())  # of some of those
    untimed: bool = False  # schedules came in of which it is not known yet when they are due
