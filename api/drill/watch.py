"""Watches a system through its API while a node of it is struck, and writes the record. Judges nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from api.cli.exits import CommandFailed
from api.drill.hand import Hand
from api.drill.record import Record, Watched
from api.drill.system import HELD, Ask, Row, has_room, read_held

POLL = 0.1  # seconds between rounds
TIMED = 100  # tasks that are looked for at every round; more would make the rounds longer
SETTLE = 2.0  # seconds after a coordinator's workers were taken over, for repeats to show
BACK_LIMIT = 5.0  # seconds to wait for what comes in place of a killed node
RETURN_LIMIT = 15.0  # seconds for a worker that was frozen to sign in again, and to report what it had run
GONE = 404
_HELD = frozenset(HELD.split(","))


class Watch:
    """One drill. `say` gets each thing that is seen, with the seconds after the strike."""

    def __init__(
        self,
        ask: Ask,
        record: Record,
        say: Callable[[float, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask, self.record, self._say, self._clock, self._sleep = ask, record, say, clock, sleep
        self._known: set[str] = set()  # nodes that were there before
        self._waits_for_back = False
        self._began = 0.0

    def began(self) -> None:
        """The strike was right now: times count from here."""
        self._began = self._clock()
        self._say(0.0, f"{'frozen' if self.record.freeze else 'killed'}: {self.record.target.title}")

    def run(self, hand: Hand, known: Sequence[Row]) -> Record:
        """From right after the strike, within `struck`, to the last look at every task."""
        self._known = {str(one["id"]) for one in known}
        self._waits_for_back = hand.restarted_by is not None
        worker = self.record.target.kind == "worker"
        look, done = (self._look_at_workers, self._workers_done) if worker else (self._look, self._taken_over)
        self._rounds(look, done, self._limit())
        if hand.undo():
            self.record.unfrozen = True
            self._say(self._elapsed(), f"unfrozen again: {hand.back}")
            if worker:
                self._rounds(self._look_for_return, self._reported, RETURN_LIMIT)
        elif self._waits_for_back:
            self._rounds(look, lambda: self.record.back is not None, BACK_LIMIT)
        if not worker:
            self._sleep(SETTLE)
        self._read_all()
        self.record.watched_for = self._elapsed()
        return self.record

    def _limit(self) -> float:
        """Longer than the bounds: what comes too late is measured as well."""
        return 2 * (self.record.bounds.again or self.record.bounds.noticed) + 5

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _rounds(self, look: Callable[[], None], done: Callable[[], bool], limit: float) -> None:
        end = self._clock() + limit
        while not done() and self._clock() < end:
            began = self._clock()
            try:
                look()
            except CommandFailed:  # the api may be what was struck; how long it was away is part of the report
                self._sleep(POLL)
                self.record.api_away += self._clock() - began
            else:
                self._sleep(max(0.0, POLL - (self._clock() - began)))

    # --- a worker ---------------------------------------------------------------------------------

    def _workers_done(self) -> bool:
        return self.record.noticed is not None and all(one.moved for one in self.record.tasks if one.timed)

    def _look_at_workers(self) -> None:
        record, target = self.record, self.record.target
        workers: list[Row] = self._ask("/workers")["items"]
        self._see_state(next((one["state"] for one in workers if one["id"] == target.id), "lost"))
        self._see_back(workers)
        waits = [one for one in record.tasks if one.timed and not one.moved]
        if not waits:
            return
        held = {str(one["id"]) for one in read_held(self._ask, target)}
        for one in waits:
            if one.id in held:
                continue
            one.now = self._task(one.id)
            elapsed = self._elapsed()
            if one.now is not None and one.now["attempt"] > one.before["attempt"]:
                one.again = elapsed
            elif one.now is not None and record.bounds.again is not None and elapsed <= record.bounds.again:
                one.room = has_room(one.now, workers, target.id)
        moved = sum(one.again is not None for one in record.tasks)
        if moved and all(one.moved for one in record.tasks if one.timed):
            self._say(self._elapsed(), f"{_tasks(moved)} assigned again to other workers")

    def _see_state(self, state: str) -> None:
        record = self.record
        if state in ("suspect", "deaf") and record.suspected is None:
            record.suspected = self._elapsed()
            self._say(record.suspected, f"shown as {state}: it gets no new tasks")
        if state == "lost" and record.noticed is None:
            record.noticed = self._elapsed()
            self._say(record.noticed, "shown as lost: its tasks go back to the queue")

    def _see_back(self, nodes: Sequence[Row]) -> None:
        record = self.record
        if record.back is not None:
            return
        name = record.target.name if record.target.kind == "worker" else None
        fresh = [one for one in nodes if one["id"] not in self._known and (name is None or one["name"] == name)]
        if fresh:
            record.back = (str(fresh[0]["id"]), self._elapsed())
            self._say(record.back[1], f"a new process came in its place: {record.back[0]}")

    def _look_for_return(self) -> None:
        record = self.record
        state = self._ask(f"/workers/{record.target.id}")["state"]
        if state not in ("lost", "closed") and record.returned is None:
            record.returned = self._elapsed()
            self._say(record.returned, f"signed in again, shown as {state}")
        for one in record.tasks:
            if one.again is not None and not _refused(one):
                one.attempts = self._attempts(one.id)

    def _reported(self) -> bool:
        repeated = [one for one in self.record.tasks if one.again is not None]
        return self.record.returned is not None and all(_refused(one) for one in repeated)

    # --- a coordinator ----------------------------------------------------------------------------

    def _taken_over(self) -> bool:
        return self.record.noticed is not None

    def _look(self) -> None:
        nodes: list[Row] = self._ask("/coordinators")["items"]
        left = next((one["workers"] for one in nodes if one["id"] == self.record.target.id), 0)
        self._see_back([one for one in nodes if one["alive"]])
        if left == 0 and self.record.noticed is None:
            self.record.noticed = self._elapsed()
            self._say(self.record.noticed, "all its workers are linked again")

    # --- tasks ------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        for one in self.record.tasks:
            one.now = self._task(one.id)
            if one.now is not None and (one.now["attempt"] > one.before["attempt"] or one.now["state"] not in _HELD):
                one.attempts = self._attempts(one.id)

    def _task(self, task: str) -> Row | None:
        try:
            found: Row = self._ask(f"/tasks/{task}")
        except CommandFailed as error:
            if error.status == GONE:
                return None
            raise
        return found

    def _attempts(self, task: str) -> Sequence[Row]:
        found: Sequence[Row] = self._ask(f"/tasks/{task}/attempts")["items"]
        return found


def held_at_strike(before: Sequence[Row], after: Sequence[Row]) -> list[Watched]:
    """The tasks of both readings, those from right before and right after the strike; TIMED of them looked for."""
    found = {str(one["id"]): one for one in [*after, *before]}
    step = max(1, -(-len(found) // TIMED))
    return [Watched(row, row, timed=number % step == 0) for number, row in enumerate(found.values())]


def _refused(one: Watched) -> bool:
    return any(not row["accepted"] for row in one.attempts)


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
