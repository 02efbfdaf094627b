"""Submissions that need not wait for a claim: while workers have room and nothing else is due, a small submission
carries the dispatcher's next claim along in its own transaction. It saves a commit, and the way to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.coordinator.dispatcher import Dispatcher
from actors.model.errors import BadValue, StorageTimeout
from actors.model.lane import lane_key
from actors.model.ports import DispatchStore, Posted, Submitted
from actors.model.task import NewTask

MOST = 20  # tasks in one submission; more gain nothing, because a claim of its own is then a small part of the way


class Express:
    """What an intake in the same process may ask first."""

    def __init__(self, store: DispatchStore, dispatcher: Dispatcher) -> None:
        self._store, self._dispatcher = store, dispatcher

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception] | None:
        """Answers as TaskStore.submit gives them; None: it does not fit now, submit it as usual.

        Raises StorageTimeout when the outcome is unknown, and no keys make a repeat safe. What was assigned all the
        same comes back when its acknowledgement window has passed.
        """
        if len(tasks) > MOST or any(is_later(task) or task.is_bound or lane_key(task).placed for task in tasks):
            return None
        loan = self._dispatcher.lend({task.name for task in tasks}, len(tasks))
        if loan is None:
            return None
        posted: Posted | None = None
        try:
            posted = await self._store.post(tasks, loan.offer)
            return posted.answers
        except BadValue:
            return None  # submitted as usual, it fails alone
        except StorageTimeout:
            if any(task.idempotency_key is None for task in tasks):
                raise
            return None  # submitted as usual, the keys tell what is there already
        finally:
            self._dispatcher.settle(loan, posted)


def is_later(task: NewTask) -> bool:
    """Whether it is not due at once."""
    return task.run_at is not None or bool(task.delay)
