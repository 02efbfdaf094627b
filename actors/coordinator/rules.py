"""Decisions of the coordinator, pure: who may get what, in which turn, and when to judge."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.model.lane import Lane
from actors.model.worker import WorkerInfo

MAX_PREFETCH = 1_000
PREFETCH_SECONDS = 0.15  # of work, by the measured rate
CLAIM = 500  # tasks a statement: beyond it a claim costs more latency than it saves
PATIENCE = 0.5  # seconds that the others wait for a full worker that has fallen behind
LEAD = 8  # assignments that they may be ahead of it meanwhile


def serves(worker: WorkerInfo, handlers: frozenset[str], lane: Lane) -> bool:
    """Whether the worker knows the handler, listens to the queue and has the labels."""
    return (
        lane.name in handlers
        and (not worker.queues or lane.queue in worker.queues)
        and all(worker.labels.get(key) == value for key, value in lane.requirements.items())
    )


def round_robin(given: Sequence[int], room: Sequence[int], wanted: int, ceiling: int | None = None) -> list[int]:
    """Turns for `wanted` tasks: each goes to the one with the fewest assignments that has room.

    `given` counts assignments since the set last changed; ties go in ring order. Equal workers get equal counts.
    Nobody's count rises beyond `ceiling`.
    """
    heap = [(count, index) for index, count in enumerate(given) if room[index] > 0]
    heapq.heapify(heap)
    left = list(room)
    turns: list[int] = []
    while heap and len(turns) < wanted:
        count, index = heap[0]
        if ceiling is not None and count >= ceiling:
            break
        turns.append(index)
        left[index] -= 1
        if left[index]:
            heapq.heapreplace(heap, (count + 1, index))
        else:
            heapq.heappop(heap)
    return turns


def ceiling(full_at: Sequence[int], behind_for: Sequence[float | None]) -> int | None:
    """How far counts may rise when workers are full at these counts; None in the list: it can't get work at all.

    The others wait for one that has fallen behind for a moment, so that equal workers stay equal. A slow one is
    waited for once, until it has caught up: it must not hold the fast ones to its own pace.
    """
    waited_for = [
        count for count, seconds in zip(full_at, behind_for, strict=True) if seconds is not None and seconds < PATIENCE
    ]
    return min(waited_for) + LEAD if waited_for else None


@dataclass(slots=True)
class RateMeter:
    """Outcomes a second over the last half second: what prefetch follows."""

    window: float = 0.5
    _events: deque[tuple[float, int]] = field(default_factory=deque)
    _count: int = 0

    def add(self, now: float, count: int) -> None:
        self._events.append((now, count))
        self._count += count

    def rate(self, now: float) -> float:
        while self._events and self._events[0][0] < now - self.window:
            self._count -= self._events.popleft()[1]
        return self._count / self.window


def prefetch(rate: float, slots: int) -> int:
    """Tasks a worker may hold beyond its slots. None unless a slot turns over many times a second."""
    ahead = int(rate * PREFETCH_SECONDS)
    return min(MAX_PREFETCH, ahead) if rate > 5 * slots else 0


def worth_claiming(free: int, capacity: int) -> bool:
    """Whether so much room justifies a statement, while more is known to wait than there is room for."""
    return free >= min(CLAIM, max(1, capacity // 2))


@dataclass(slots=True)
class QuietPeriod:
    """May this coordinator convict? Only after the database has answered it without a gap for a while.

    Otherwise every restart of the database, or of the coordinator, would declare everybody dead. So would a step of
    the database's clock: leases that were renewed before it look as if they were over.
    """

    length: float
    gap: float = 2.0
    _since: float | None = None
    _last: float | None = None
    _server: object = None
    _ahead: float | None = None  # of the database's clock before ours

    def answered(self, now: float, server: object, clock: float | None = None) -> None:
        """A round trip succeeded; `server` changes when the database restarted, `clock` is the database's."""
        stepped = False
        if clock is not None:
            stepped = self._ahead is not None and abs(clock - now - self._ahead) > self.gap
            self._ahead = clock - now
        if self._last is None or now - self._last > self.gap or server != self._server or stepped:
            self._since = now
        self._last, self._server = now, server

    def failed(self) -> None:
        self._since = self._last = None

    def until(self, now: float) -> float | None:
        """Database time after which a question asked now comes too late to judge by; None while it is not known.

        A server that froze answers what it was asked before, when every lease has run out meanwhile.
        """
        return None if self._ahead is None else now + self._ahead + self.gap

    def may_convict(self, now: float) -> bool:
        return (
            self._since is not None
            and self._last is not None
            and (now - self._last <= self.gap and now - self._since >= self.length)
        )
