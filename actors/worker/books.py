"""What one executor holds, and what becomes of it when the executor has to go. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import Any, NamedTuple

from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.worker import Held
from callboard.executor.frames import Done


@dataclass(frozen=True, slots=True)
class Batch:
    """What the attempts of one frame share."""

    key: bytes
    names: list[str]
    given_at: float
    ids: list[int]
    first: int  # the place of the first of them among all that the process was given, from 1


class Entry(NamedTuple):
    """One attempt."""

    attempt: int
    name_index: int
    timeout: int  # milliseconds; 0 = none
    batch: Batch

    @property
    def name(self) -> str:
        return self.batch.names[self.name_index]


@dataclass(frozen=True, slots=True)
class Wish:
    """An attempt was asked to leave; at `kill_at` it is made to."""

    reason: str
    kill_at: float


# How an attempt ends that had to be killed because of a wish, or was killed with one open.
BY_WISH = {"cancelled": Outcome.CANCELLED}  # every other reason hands it back: lease, session, drain


class End(NamedTuple):
    """How one attempt ends, with the words for it."""

    kind: Outcome
    body: dict[str, Any]


@dataclass(slots=True)
class Books:
    """Attempts in the order in which they were given: an executor starts them in that order."""

    slots: int
    held: dict[int, Entry] = field(default_factory=dict)
    started: dict[int, float] = field(default_factory=dict)  # reported as started; short ones never are
    wishes: dict[int, Wish] = field(default_factory=dict)
    servers: dict[int, str] = field(default_factory=dict)  # unix sockets of attempts that serve HTTP
    given: int = 0  # attempts, to the present process

    def give(self, part: Assignment, now: float) -> None:
        batch = Batch(part.lease_key, part.names, now, part.ids, self.given + 1)
        self.given += len(part.ids)
        columns = zip(part.attempts, part.name_index, part.timeouts, repeat(batch), strict=False)
        self.held.update(zip(part.ids, map(Entry._make, columns), strict=True))

    def done(self, frame: Done) -> Done | None:
        """Takes ended attempts off the books; the frame without those that were not on them."""
        take = self.held.pop
        entries = [take(task, None) for task in frame.ids]
        for extra in (self.started, self.wishes, self.servers):
            if extra:
                for task in frame.ids:
                    extra.pop(task, None)
        if None not in entries:
            return frame
        return without_unknown(frame, [entry is not None for entry in entries])

    def begin(self, ids: Iterable[int], now: float) -> list[Held]:
        found = []
        for task in ids:
            if (entry := self.held.get(task)) is not None:
                self.started.setdefault(task, now)
                found.append(Held(task, entry.attempt, entry.batch.key))
        return found

    def wish(self, ids: Iterable[int], reason: str, kill_at: float) -> list[int]:
        """Books that these should leave; those that were not asked before. An earlier deadline wins."""
        fresh = []
        for task in ids:
            if task not in self.held:
                continue
            former = self.wishes.get(task)
            if former is None:
                fresh.append(task)
                self.wishes[task] = Wish(reason, kill_at)
            elif kill_at < former.kill_at:
                self.wishes[task] = Wish(former.reason, kill_at)
        return fresh

    def may_run(self, begun: int | None) -> set[int]:
        """What has started, by the executor's own count of what it began.

        Without a count: what was reported as started, and as many of the oldest others as had a slot.
        """
        if begun is not None:
            return {*self.started, *self._first(begun)}
        room = max(0, self.slots - len(self.started))
        others = (task for task in self.held if task not in self.started)
        return {*self.started, *islice(others, room)}

    def _first(self, count: int) -> set[int]:
        """Of the first so many that the process was given, those that are still held."""
        batches = {id(entry.batch): entry.batch for entry in self.held.values()}
        firsts = (batch.ids[: max(0, count + 1 - batch.first)] for batch in batches.values())
        return self.held.keys() & {task for ids in firsts for task in ids}

    def surely_queued(self, begun: int | None) -> list[int]:
        running = self.may_run(begun)
        return [task for task in self.held if task not in running]

    def overdue(self, now: float, grace: float) -> dict[int, Outcome]:
        """Attempts that did not leave in time, and what they are reported as."""
        late = {
            task: BY_WISH.get(wish.reason, Outcome.RELEASED)
            for task, wish in self.wishes.items()
            if wish.kill_at <= now
        }
        for task in self.started:
            if task not in self.wishes and now >= self._leaves_at(task, grace):
                late[task] = Outcome.TIMED_OUT
        return late

    def next_due(self, grace: float) -> float:
        """When the next attempt is overdue; infinity when none can be."""
        times = [wish.kill_at for wish in self.wishes.values()]
        times += [self._leaves_at(task, grace) for task in self.started]
        return min(times, default=float("inf"))

    def _leaves_at(self, task: int, grace: float) -> float:
        timeout = self.held[task].timeout
        return self.started[task] + timeout / 1000 + grace if timeout else float("inf")

    def close(self, ends: Mapping[int, End], otherwise: End) -> Outcomes:
        """Everything ends, each in its way: the executor is gone."""
        outcomes = end_all(self.held, ends, otherwise)
        for book in (self.held, self.started, self.wishes, self.servers):
            book.clear()
        self.given = 0
        return outcomes


def end_all(held: Mapping[int, Entry], ends: Mapping[int, End], otherwise: End) -> Outcomes:
    """Outcomes of these attempts, as columns."""
    places: dict[bytes, int] = {}
    outcomes = Outcomes()
    bodies: list[bytes] = []
    texts: dict[int, bytes] = {}
    for task, entry in held.items():
        end = ends.get(task, otherwise)
        body = texts.get(id(end.body))
        if body is None:
            body = texts[id(end.body)] = json.dumps(end.body).encode()
        outcomes.key_index.append(places.setdefault(entry.batch.key, len(places)))
        outcomes.ids.append(task)
        outcomes.attempts.append(entry.attempt)
        outcomes.kinds.append(end.kind)
        outcomes.sizes.append(len(body))
        bodies.append(body)
    outcomes.keys, outcomes.bodies = list(places), b"".join(bodies)
    return outcomes


def unstarted(assignment: Assignment, kind: Outcome, why: str) -> Outcomes:
    """The same outcome for each of these: they never got to an executor."""
    words = {Outcome.CANCELLED: "Cancelled", Outcome.REFUSED: "Refused"}
    body = json.dumps({"type": words.get(kind, "Released"), "message": why}).encode()
    count = len(assignment)
    return Outcomes(
        [assignment.lease_key],
        [0] * count,
        list(assignment.ids),
        list(assignment.attempts),
        [int(kind)] * count,
        [len(body)] * count,
        body * count,
    )


def undelivered(lost: Sequence[Held]) -> Outcomes:
    """Outcomes of attempts that never came here."""
    keys = list(dict.fromkeys(one.lease_key for one in lost))
    body = json.dumps({"type": "Undelivered", "message": "the assignment never reached its worker"}).encode()
    count = len(lost)
    return Outcomes(
        keys,
        [keys.index(one.lease_key) for one in lost],
        [one.task_id for one in lost],
        [one.attempt for one in lost],
        [int(Outcome.REFUSED)] * count,
        [len(body)] * count,
        body * count,
    )


def without_unknown(frame: Done, known: Sequence[bool]) -> Done | None:
    """The frame without what is not on the books; None when nothing is left."""
    kept = [index for index, yes in enumerate(known) if yes]
    if not kept:
        return None
    begins = [0]
    for size in frame.sizes:
        begins.append(begins[-1] + size)
    return Done(
        frame.key,
        [frame.ids[index] for index in kept],
        [frame.attempts[index] for index in kept],
        [frame.kinds[index] for index in kept],
        [frame.sizes[index] for index in kept],
        b"".join(frame.bodies[begins[index] : begins[index + 1]] for index in kept),
    )


def is_sound(frame: Done) -> bool:
    """Whether the columns fit together: a frame that does not would break the link for all others."""
    count = len(frame.ids)
    if not len(frame.attempts) == len(frame.kinds) == len(frame.sizes) == count > 0:
        return False
    if sum(frame.sizes) != len(frame.bodies) or len(frame.key) != 16 or not 0 <= max(frame.kinds) <= max(Outcome):
        return False
    if frame.bodies.isascii():
        return True
    try:
        frame.bodies.decode()
    except UnicodeDecodeError:
        return False
    return True
