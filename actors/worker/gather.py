"""Frames of outcomes on their way to the link: what comes close together becomes one report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

import trio

from actors.model.columns import Outcomes
from actors.model.worker import Held
from callboard.executor.frames import Done

WINDOW = 0.003  # seconds for which outcomes are gathered after a report; the first of a burst goes at once
PROGRESS_WINDOW = 0.25  # seconds; of each attempt only the newest value travels
PROGRESS_ATTEMPTS = 10_000  # values that wait at most; the oldest give way


def merge(parts: Sequence[Done | Outcomes]) -> Outcomes:
    """Several parts as one set of columns, in order."""
    whole, places = Outcomes(), dict[bytes, int]()
    for part in parts:
        if isinstance(part, Done):
            whole.key_index += repeat(places.setdefault(part.key, len(places)), len(part.ids))
        else:
            where = [places.setdefault(key, len(places)) for key in part.keys]
            whole.key_index += [where[index] for index in part.key_index]
        whole.ids += part.ids
        whole.attempts += part.attempts
        whole.kinds += part.kinds
        whole.sizes += part.sizes
    whole.keys = list(places)
    whole.bodies = b"".join([part.bodies for part in parts])
    return whole


class Gatherer:
    """Filled without waiting, emptied by its task or by `flush`."""

    def __init__(
        self,
        finished: Callable[[Outcomes], None],
        started: Callable[[Sequence[Held]], None],
        progressed: Callable[[Sequence[tuple[int, int, str]]], None],
    ) -> None:
        self._finished, self._started, self._progressed = finished, started, progressed
        self._parts: list[Done | Outcomes] = []
        self._begun: list[Held] = []
        self._progress: dict[tuple[int, int], str] = {}
        self._progress_at = 0.0
        self._some = trio.Event()

    def add(self, part: Done | Outcomes) -> None:
        self._parts.append(part)
        self._some.set()

    def begin(self, attempts: Sequence[Held]) -> None:
        self._begun += attempts
        self._some.set()

    def progress(self, task: int, attempt: int, value: str) -> None:
        self._progress.pop((task, attempt), None)
        self._progress[task, attempt] = value
        if len(self._progress) > PROGRESS_ATTEMPTS:
            del self._progress[next(iter(self._progress))]
        self._some.set()

    def flush(self) -> None:
        """Starts before outcomes: a start that comes after its outcome would be forgotten."""
        if self._begun:
            begun, self._begun = self._begun, []
            self._started(begun)
        if self._parts:
            parts, self._parts = self._parts, []
            self._finished(merge(parts))

    def _flush_progress(self) -> None:
        if self._progress and trio.current_time() - self._progress_at >= PROGRESS_WINDOW:
            values = [(task, attempt, value) for (task, attempt), value in self._progress.items()]
            self._progress.clear()
            self._progress_at = trio.current_time()
            self._progressed(values)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with trio.move_on_after(PROGRESS_WINDOW if self._progress else float("inf")):
                await self._some.wait()
            self._some = trio.Event()
            self._flush_progress()
            self.flush()
            await trio.sleep(WINDOW)
