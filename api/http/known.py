"""Whether anybody can run a task: what a submission for an unknown handler is told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import trio

from actors.model.errors import StorageError
from actors.model.ports import TaskStore
from actors.model.wrong import shown

FRESH = 1.0  # seconds
NAMED = 10  # handlers in one notice


class KnownHandlers:
    """The declared handlers, at most a second old; a database that is away gives no notice."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._handlers: Mapping[str, bool] | None = None
        self._read_at = -FRESH
        self._reading = trio.Lock()

    async def notice(self, names: Iterable[str]) -> str | None:
        """A sentence about the names that no worker ever declared, None when there are none."""
        wanted = set(names)
        if self._handlers is None or not wanted <= self._handlers.keys():
            await self._refresh()
        return None if self._handlers is None else notice(wanted - self._handlers.keys(), self._handlers)

    async def _refresh(self) -> None:
        async with self._reading:
            if trio.current_time() - self._read_at < FRESH:
                return
            try:
                self._handlers = await self._store.known_handlers()
            except StorageError:
                self._handlers = None
            self._read_at = trio.current_time()


def notice(unknown: Iterable[str], known: Iterable[str]) -> str | None:
    """The sentence, from the names alone."""
    missing, there = sorted(unknown), sorted(known)
    if not missing:
        return None
    close = difflib.get_close_matches(missing[0][:200], there, n=NAMED)
    listed = close + [name for name in there if name not in close]
    more = ", …" if len(listed) > NAMED else ""
    others = f" (and {len(missing) - 1} more names)" if len(missing) > 1 else ""
    names = ", ".join(name[:64] for name in listed[:NAMED]) or "none yet"
    return (
        f"no worker has declared a handler named {shown(missing[0])}{others}; known: {names}{more}. "
        "The task waits until a worker declares it"
    )
