"""Which due tasks may start under limits, and where. Pure; times are seconds, weights are what limits count."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

UNKEYED = ""  # tasks without a concurrency key take turns as one more key, which nothing limits


@dataclass(frozen=True, slots=True)
class Candidate:
    """A due task."""

    id: int
    rank: float  # what is smaller goes first
    queue: str
    weight: int = 1
    key: str = UNKEYED
    preferred: int | None = None  # the session that tasks of its affinity key go to
    patient: bool = False  # it waits for that one still
    shunned: int | None = None  # the session that failed it a moment ago


@dataclass(slots=True)
class Budget:
    """What may start yet. None: no limit."""

    room: int | None = None  # weight
    starts: int | None = None
    idle: bool = True  # nothing counts: what is heavier than the whole limit may run alone

    def fits(self, weight: int) -> bool:
        roomy = self.room is None or weight <= self.room or (self.idle and self.room > 0)
        return roomy and (self.starts is None or self.starts > 0)

    def take(self, weight: int) -> None:
        self.idle = False
        if self.room is not None:
            self.room -= weight
        if self.starts is not None:
            self.starts -= 1


@dataclass(frozen=True, slots=True)
class Pick:
    """A task, and the place in the turns that it takes."""

    candidate: Candidate
    turn: int


@dataclass(slots=True)
class Placed:
    """What a claim takes."""

    picks: list[Pick] = field(default_factory=list)
    full: bool = False  # more could start if there were room
    waits: bool = False  # something is left to a session that it prefers, or that did not fail it
    reserved: int | None = None  # the session that gets nothing else until a heavy task fits


def in_order(candidates: Sequence[Candidate], budget: Budget) -> list[Candidate]:
    """Those that start, first ones first: a heavy one is waited for, never overtaken."""
    found: list[Candidate] = []
    for one in candidates:
        if not budget.fits(one.weight):
            break
        budget.take(one.weight)
        found.append(one)
    return found


def in_turn(heads: Mapping[str, Sequence[Candidate]], keys: Mapping[str, Budget], budget: Budget) -> list[Candidate]:
    """One task a key and round, in the order of `heads`, while the queue has room.

    A key beyond its limit is passed over. Ranks are dealt out anew, so that this order stays among others.
    """
    waiting = deque((keys.get(key, Budget()), deque(mine)) for key, mine in heads.items() if mine)
    found: list[Candidate] = []
    while waiting:
        own, mine = waiting.popleft()
        if not own.fits(mine[0].weight):
            continue
        if not budget.fits(mine[0].weight):
            break
        one = mine.popleft()
        own.take(one.weight)
        budget.take(one.weight)
        found.append(one)
        if mine:
            waiting.append((own, mine))
    return _ranked(found)


def _ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    ranks = sorted(one.rank for one in candidates)
    return [replace(one, rank=rank) for one, rank in zip(candidates, ranks, strict=True)]


@dataclass(slots=True)
class Room:
    """What a session has for heavy tasks, which take as many of its slots as they weigh and nothing in advance."""

    free: int
    slots: int

    def need(self, weight: int) -> int:
        """What is heavier than all its slots takes all of them."""
        return min(weight, self.slots)


def place(
    queues: Sequence[Sequence[Candidate]],
    others: Sequence[float],
    turns: Sequence[int],
    rooms: Mapping[int, Room] | None = None,
) -> Placed:
    """Turns for candidates of several queues, each queue in its order, by rank.

    `others`: ranks of tasks without limits, which compete for the same room; `turns`: whose session is next. A heavy
    task that fits nowhere keeps the roomiest session from all that come after it.
    """
    placed, free, ahead = Placed(), list(enumerate(turns)), 0
    rooms = {session: Room(count, count) for session, count in Counter(turns).items()} | dict(rooms or {})
    rivals = sorted(others)
    for one in sorted((one for queue in queues for one in queue), key=lambda one: one.rank):
        while ahead < len(rivals) and rivals[ahead] <= one.rank:
            ahead += 1
        if len(turns) - len(free) + ahead >= len(turns):
            placed.full = True
            break
        if one.weight > 1:
            _place_heavy(one, free, rooms, placed)
            continue
        place = _turn(one, free)
        if place is None:
            placed.waits = True
            continue
        turn, session = free.pop(place)
        rooms[session].free -= 1
        placed.picks.append(Pick(one, turn))
    return placed


def _place_heavy(one: Candidate, free: list[tuple[int, int]], rooms: Mapping[int, Room], placed: Placed) -> None:
    """Takes turns out of `free`: its own, and what its session has no slots for any more."""
    sessions = [session for session in dict.fromkeys(session for _, session in free) if session != one.shunned]
    if one.preferred in sessions:
        sessions.sort(key=lambda session: session != one.preferred)
    elif one.patient:
        sessions = []
    chosen = next((session for session in sessions if rooms[session].free >= rooms[session].need(one.weight)), None)
    if chosen is None:
        placed.waits = True
        if sessions and placed.reserved is None:
            placed.reserved = max(sessions, key=lambda session: rooms[session].free / rooms[session].slots)
            free[:] = [turn for turn in free if turn[1] != placed.reserved]
        return
    mine = [turn for turn in free if turn[1] == chosen]
    placed.picks.append(Pick(one, mine[0][0]))
    rooms[chosen].free -= rooms[chosen].need(one.weight)
    left = set(mine[1 : 1 + max(0, rooms[chosen].free)])
    free[:] = [turn for turn in free if turn[1] != chosen or turn in left]


def _turn(one: Candidate, free: Sequence[tuple[int, int]]) -> int | None:
    """The preferred session's turn, else the first of one that may have it."""
    if one.preferred is None and one.shunned is None:
        return 0 if free else None
    sessions = [session for _, session in free]
    if one.preferred in sessions and one.preferred != one.shunned:
        return sessions.index(one.preferred)
    if one.patient:
        return None
    return next((place for place, session in enumerate(sessions) if session != one.shunned), None)
