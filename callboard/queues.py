"""`client.queues` and `client.handlers`: limits and pauses, as dicts with all fields that the API shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypedDict, Unpack
from urllib.parse import quote

from callboard.calls import JSON, Call, encode

Shown = dict[str, Any]
Many = list[Shown]


class Limits(TypedDict, total=False):
    """What to change of a queue; see `PATCH /api/v1/queues/{name}`. None takes a limit away."""

    concurrency: int | None
    concurrency_per_key: int | None
    rate: Mapping[str, float] | None  # {"limit": starts, "period": seconds}
    rate_per_key: Mapping[str, float] | None
    keep_succeeded: float | None  # seconds
    keep_unsuccessful: float | None


def _get(path: str) -> Call:
    return Call(method="GET", path=path)


def _set(queue: str, limits: Limits) -> Call:
    return Call(method="PATCH", path=f"/queues/{quote(queue, safe='')}", body=encode(dict(limits)), headers=JSON)


def _pause(kind: str, name: str, reason: str | None) -> Call:
    body = encode({} if reason is None else {"reason": reason})
    return Call(method="POST", path=f"/{kind}/{quote(name, safe='')}/pause", body=body, headers=JSON)


def _resume(kind: str, name: str) -> Call:
    return Call(method="POST", path=f"/{kind}/{quote(name, safe='')}/resume")


class Handlers:
    """Of a Client. Every method raises CallboardApiError when the API refuses and CallboardUnavailable."""

    kind = "handlers"

    def __init__(self, call: Callable[[Call], Any]) -> None:
        self._call = call

    def list(self) -> Many:
        """All, by name."""
        found: Many = self._call(_get(f"/{self.kind}"))["items"]
        return found

    def pause(self, name: str, reason: str | None = None) -> Shown:
        """Starts nothing of it until it is resumed; what runs goes on."""
        shown: Shown = self._call(_pause(self.kind, name, reason))
        return shown

    def resume(self, name: str) -> Shown:
        shown: Shown = self._call(_resume(self.kind, name))
        return shown


class Queues(Handlers):
    """The same, with limits."""

    kind = "queues"

    def get(self, name: str) -> Shown:
        """One queue; every name is one."""
        shown: Shown = self._call(_get(f"/queues/{quote(name, safe='')}"))
        return shown

    def set(self, name: str, **limits: Unpack[Limits]) -> Shown:
        """Changes what is given."""
        shown: Shown = self._call(_set(name, limits))
        return shown


class AsyncHandlers:
    """Of an AsyncClient; see Handlers."""

    kind = "handlers"

    def __init__(self, call: Callable[[Call], Awaitable[Any]]) -> None:
        self._call = call

    async def list(self) -> Many:
        """See Handlers.list."""
        found: Many = (await self._call(_get(f"/{self.kind}")))["items"]
        return found

    async def pause(self, name: str, reason: str | None = None) -> Shown:
        """See Handlers.pause."""
        shown: Shown = await self._call(_pause(self.kind, name, reason))
        return shown

    async def resume(self, name: str) -> Shown:
        shown: Shown = await self._call(_resume(self.kind, name))
        return shown


class AsyncQueues(AsyncHandlers):
    """See Queues."""

    kind = "queues"

    async def get(self, name: str) -> Shown:
        """See Queues.get."""
        shown: Shown = await self._call(_get(f"/queues/{quote(name, safe='')}"))
        return shown

    async def set(self, name: str, **limits: Unpack[Limits]) -> Shown:
        """See Queues.set."""
        shown: Shown = await self._call(_set(name, limits))
        return shown
