"""Commits outcomes in groups, and acknowledges them only after the commit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import trio

from actors.coordinator.membership import Link
from actors.model.columns import Outcomes, Verdict
from actors.model.errors import StorageRefused, StorageUnavailable
from actors.model.link import Committed, Report
from actors.model.ports import DispatchStore
from actors.runtime import probe
from actors.runtime.mailbox import Address, drain_into

log = logging.getLogger(__name__)


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
        """A report that can't be stored ends up alone, and costs its own link: the worker keeps it and comes again."""
        try:
            verdicts = await self._store_in_the_end(merge([one.report.outcomes for one in batch]))
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._commit([one])
                return
            link = batch[0].link
            log.error("a report of worker %s can't be stored", link.worker.id, exc_info=error)
            link.scope.cancel("its report can't be stored")
            return
        self._answer(batch, verdicts)

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
