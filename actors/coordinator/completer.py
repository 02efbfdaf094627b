"""Commits outcomes in groups, and acknowledges them only after the commit."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import trio

from actors.coordinator.membership import Link
from actors.model.columns import Outcome, Outcomes, Verdict, split_blob
from actors.model.errors import StorageRefused, StorageUnavailable
from actors.model.link import Committed, Report
from actors.model.ports import DispatchStore
from actors.model.worker import Held
from actors.runtime import probe
from actors.runtime.mailbox import Address, drain_into

log = logging.getLogger(__name__)

STRIKES = 3  # times that the store may refuse an outcome before it is set aside
REMEMBERED = 1_000  # attempts whose outcomes were refused


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker's report, and the link that waits for the answer."""

    link: Link
    report: Report


class Completer:
    """Two of them share one mailbox, so that one group is encoded while the other commits."""

    # Reports, each of up to a few hundred outcomes; a worker whose report finds it full is dropped and sends again.
    CAPACITY = 4_096
    GROUP = 64  # reports a transaction

    def __init__(self, store: DispatchStore) -> None:
        self._store = store
        self.address = Address[Finished](self.CAPACITY)
        self._open = 0  # reports taken and not yet answered
        self._idle = trio.Event()
        self.set_aside = 0
        self._strikes: dict[Held, int] = {}
        self.counts = dict.fromkeys(Verdict, 0)

    def take(self, link: Link, report: Report) -> None:
        """Never waits; raises trio.WouldBlock when too much is open."""
        self.address.tell_nowait(Finished(link, report))
        self._open += 1

    async def wait_idle(self) -> None:
        """Until every report that was taken is answered."""
        while self._open:
            self._idle = trio.Event()
            await self._idle.wait()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        with self.address.inbox.clone() as inbox:
            task_status.started()
            async for first in inbox:
                batch = drain_into(inbox, first, self.GROUP)
                try:
                    await self._commit(batch)
                finally:
                    self._open -= len(batch)
                    if not self._open:
                        self._idle.set()

    async def _commit(self, batch: list[Finished]) -> None:
        """A report that can't be stored ends up alone."""
        try:
            verdicts = await self._store_in_the_end(merge([one.report.outcomes for one in batch]))
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._commit([one])
                return
            log.error("a report of worker %s can't be stored", batch[0].link.worker.id, exc_info=error)
            await self._commit_one_by_one(batch[0])
            return
        self._answer(batch, verdicts)

    async def _commit_one_by_one(self, one: Finished) -> None:
        """The outcome at fault costs its own link: the worker keeps the report and comes again. In the end it is set
        aside, so that it does not cost the link for ever."""
        verdicts: list[Verdict] = []
        for place, outcome in enumerate(each(one.report.outcomes)):
            try:
                verdicts += await self._store_in_the_end(outcome)
            except Exception as error:
                held = Held(outcome.ids[0], outcome.attempts[0], outcome.keys[0])
                strikes = self._strike(held)
                if strikes < STRIKES:
                    one.link.scope.cancel("its report can't be stored")
                    return
                verdicts.append(await self._set_aside(held, place, one, error))
        self._answer([one], verdicts)

    def _strike(self, held: Held) -> int:
        """How often the store has refused the outcome of this attempt."""
        strikes = self._strikes.pop(held, 0) + 1
        if len(self._strikes) >= REMEMBERED:
            del self._strikes[next(iter(self._strikes))]
        self._strikes[held] = strikes
        return strikes

    async def _set_aside(self, held: Held, place: int, one: Finished, error: Exception) -> Verdict:
        """In its place goes a failure, which the store may hold; if not even that, the attempt stays as it is."""
        del self._strikes[held]
        log.critical(
            "outcome %d of a report of worker %s is set aside: the store refused that of task %d attempt %d %d times",
            place + 1, one.link.worker.id, held.task_id, held.attempt, STRIKES, exc_info=error,
        )  # fmt: skip
        self.set_aside += 1
        try:
            return (await self._store_in_the_end(unstorable(held, error)))[0]
        except Exception as again:
            log.critical("task %d attempt %d stays as it is", held.task_id, held.attempt, exc_info=again)
            return Verdict.FENCED

    async def _store_in_the_end(self, outcomes: Outcomes) -> list[Verdict]:
        """Goes on until the database takes it: the workers keep what is not acknowledged."""
        delay = 0.05
        while True:
            try:
                if probe.armed is not None:
                    await probe.armed.reach("outcome.before_commit")
                verdicts = await self._store.complete(outcomes)
                if probe.armed is not None:
                    await probe.armed.reach("outcome.after_commit")
                return verdicts
            except (StorageUnavailable, StorageRefused) as error:
                log.warning("%d outcomes wait for the database: %s", len(outcomes), error)
                await trio.sleep(delay)
                delay = min(1.0, delay * 2)

    def _answer(self, batch: list[Finished], verdicts: list[Verdict]) -> None:
        start = 0
        for one in batch:
            end = start + len(one.report.outcomes)
            mine = verdicts[start:end]
            for verdict in Verdict:
                self.counts[verdict] += mine.count(verdict)
            one.link.tell(Committed(one.report.sequence, mine))
            start = end


def each(outcomes: Outcomes) -> Iterator[Outcomes]:
    """One after the other."""
    bodies = split_blob(outcomes.sizes, outcomes.bodies)
    for place, body in enumerate(bodies):
        key = outcomes.keys[outcomes.key_index[place]]
        task, attempt, kind = outcomes.ids[place], outcomes.attempts[place], outcomes.kinds[place]
        yield Outcomes([key], [0], [task], [attempt], [kind], [len(body)], body)


def unstorable(held: Held, error: Exception) -> Outcomes:
    """What is stored for an outcome that the store does not take."""
    message = f"the outcome of this attempt could not be stored: {type(error).__name__}"
    body = json.dumps({"type": "UnstorableOutcome", "message": message, "traceback": None}).encode()
    kind = int(Outcome.FAILED_FINAL)
    return Outcomes([held.lease_key], [0], [held.task_id], [held.attempt], [kind], [len(body)], body)


def merge(parts: list[Outcomes]) -> Outcomes:
    """Several reports as one set of columns."""
    if len(parts) == 1:
        return parts[0]
    whole = Outcomes()
    for part in parts:
        base = len(whole.keys)
        whole.keys += part.keys
        whole.key_index += [base + index for index in part.key_index] if base else part.key_index
        whole.ids += part.ids
        whole.attempts += part.attempts
        whole.kinds += part.kinds
        whole.sizes += part.sizes
    whole.bodies = b"".join(part.bodies for part in parts)
    return whole
