"""Many tasks at once, by their ids, over a store in memory."""

from __future__ import annotations

from actors.model.bulk import BulkDone, Selection
from actors.model.task import FINAL
from tests.support.fake_store import FakeStore


class FakeBulk:
    """Implements BulkStore."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.asked: list[Selection] = []

    async def cancel_many(self, selection: Selection) -> BulkDone:
        self.asked.append(selection)
        open_ones = [one for one in selection.ids if one in self._store.tasks and not self._is_final(one)]
        states = [] if selection.dry_run else [await self._store.cancel(one) for one in open_ones]
        done = {name: states.count(name) for name in ("cancelled", "cancelling")}
        return BulkDone(matched=len(open_ones), done=done, skipped={"missing": 1} if selection.ids else {})

    async def retry_many(self, selection: Selection, *, submitted_by: str | None) -> BulkDone:
        self.asked.append(selection)
        final = [one for one in selection.ids if one in self._store.tasks and self._is_final(one)]
        if not selection.dry_run:
            for one in final:
                await self._store.retry(one, submitted_by=submitted_by)
        return BulkDone(matched=len(final), done={"retried": 0 if selection.dry_run else len(final)})

    def _is_final(self, task: int) -> bool:
        return self._store.tasks[task].state in FINAL
