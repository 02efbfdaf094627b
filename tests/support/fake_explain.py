"""Facts of tasks about which nothing but their rows is known."""

from __future__ import annotations

from actors.model.explain import Facts
from tests.support.fake_store import FakeStore


class FakeExplain:
    """Implements ExplainStore."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def facts(self, task_id: int) -> Facts | None:
        task = await self._store.get(task_id)
        return None if task is None else Facts(task=task, attempts=await self._store.attempts(task_id))
