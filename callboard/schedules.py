"""`client.schedules`: schedules by their names, as dicts with all fields that the API shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Unpack

from callboard import schedule_calls as say
from callboard.calls import Call, Name, SubmitOptions
from callboard.schedule_calls import ScheduleOptions

_PAGE = 200
Shown = dict[str, Any]
Many = list[Shown]


class Schedules:
    """Of a Client. Every method raises CallboardApiError when the API refuses and CallboardUnavailable."""

    def __init__(self, call: Callable[[Call], Any]) -> None:
        self._call = call

    def put(
        self,
        name: str,
        task: Name,
        args: Mapping[str, Any] | None = None,
        *,
        task_options: SubmitOptions | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Shown:
        """Creates a schedule, or replaces its definition; `task` may be the decorated function.

        The same definition again changes nothing. `task_options`: of the tasks, as in `submit`, without times.
        """
        shown: Shown = self._call(say.put(name, task, args, task_options, options))
        return shown

    def change(self, name: str, **options: Unpack[ScheduleOptions]) -> Shown:
        """Changes what is given; a new rule replaces the one before."""
        shown: Shown = self._call(say.change(name, options))
        return shown

    def get(self, name: str) -> Shown:
        shown: Shown = self._call(say.get(name))
        return shown

    def list(self) -> Iterator[Shown]:
        """All, the newest first."""
        yield from self._pages("/schedules")

    def delete(self, name: str) -> None:
        """Its tasks stay."""
        self._call(say.delete(name))

    def pause(self, name: str, reason: str | None = None) -> Shown:
        shown: Shown = self._call(say.pause(name, reason))
        return shown

    def resume(self, name: str) -> Shown:
        """Fires again from now on: nothing of the pause."""
        shown: Shown = self._call(say.resume(name))
        return shown

    def trigger(self, name: str) -> Shown:
        """One slot now; the slot."""
        shown: Shown = self._call(say.trigger(name))
        return shown

    def backfill(self, name: str, start: datetime | str, until: datetime | str) -> Shown:
        """Posts the nominal times of a past interval that have not fired; how many."""
        shown: Shown = self._call(say.backfill(name, start, until))
        return shown

    def preview(self, name: str, count: int = 10) -> Many:
        """When it will fire next."""
        found: Many = self._call(say.preview(name, count))["items"]
        return found

    def slots(self, name: str) -> Iterator[Shown]:
        """What became of its nominal times, the latest entry first."""
        yield from self._pages(say.slots_path(name))

    def _pages(self, path: str) -> Iterator[Shown]:
        cursor: str | None = None
        while True:
            found = self._call(say.page(path, cursor, _PAGE))
            yield from found["items"]
            cursor = found.get("next_cursor")
            if not cursor:
                return


class AsyncSchedules:
    """Of an AsyncClient; see Schedules."""

    def __init__(self, call: Callable[[Call], Awaitable[Any]]) -> None:
        self._call = call

    async def put(
        self,
        name: str,
        task: Name,
        args: Mapping[str, Any] | None = None,
        *,
        task_options: SubmitOptions | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Shown:
        """See Schedules.put."""
        shown: Shown = await self._call(say.put(name, task, args, task_options, options))
        return shown

    async def change(self, name: str, **options: Unpack[ScheduleOptions]) -> Shown:
        """See Schedules.change."""
        shown: Shown = await self._call(say.change(name, options))
        return shown

    async def get(self, name: str) -> Shown:
        shown: Shown = await self._call(say.get(name))
        return shown

    async def list(self) -> AsyncIterator[Shown]:
        """All, the newest first."""
        async for one in self._pages("/schedules"):
            yield one

    async def delete(self, name: str) -> None:
        """Its tasks stay."""
        await self._call(say.delete(name))

    async def pause(self, name: str, reason: str | None = None) -> Shown:
        shown: Shown = await self._call(say.pause(name, reason))
        return shown

    async def resume(self, name: str) -> Shown:
        """See Schedules.resume."""
        shown: Shown = await self._call(say.resume(name))
        return shown

    async def trigger(self, name: str) -> Shown:
        """See Schedules.trigger."""
        shown: Shown = await self._call(say.trigger(name))
        return shown

    async def backfill(self, name: str, start: datetime | str, until: datetime | str) -> Shown:
        """See Schedules.backfill."""
        shown: Shown = await self._call(say.backfill(name, start, until))
        return shown

    async def preview(self, name: str, count: int = 10) -> Many:
        """See Schedules.preview."""
        found: Many = (await self._call(say.preview(name, count)))["items"]
        return found

    async def slots(self, name: str) -> AsyncIterator[Shown]:
        """See Schedules.slots."""
        async for one in self._pages(say.slots_path(name)):
            yield one

    async def _pages(self, path: str) -> AsyncIterator[Shown]:
        cursor: str | None = None
        while True:
            found = await self._call(say.page(path, cursor, _PAGE))
            for one in found["items"]:
                yield one
            cursor = found.get("next_cursor")
            if not cursor:
                return
