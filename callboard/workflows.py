"""`client.workflows`: graphs of tasks that are posted as one, as dicts with all fields that the API shows."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from callboard.calls import JSON, Call, encode, name_of, plain

POLL = 0.5  # seconds between two looks of `wait`
_PAGE = 100
Shown = dict[str, Any]


def _submit(tasks: Iterable[Mapping[str, Any]], name: str | None, key: str | None) -> Call:
    members = [{**plain(one), "name": name_of(one["name"])} for one in tasks]
    headers = {**JSON, "Idempotency-Key": key or str(uuid.uuid4())}
    body = encode({"tasks": members} if name is None else {"name": name, "tasks": members})
    return Call(method="POST", path="/workflows", body=body, headers=headers)


def _get(workflow: str | int) -> Call:
    return Call(method="GET", path=f"/workflows/{workflow}")


def _cancel(workflow: str | int) -> Call:
    return Call(method="POST", path=f"/workflows/{workflow}/cancel")


def _page(cursor: str | None) -> Call:
    query = {"limit": str(_PAGE)} | ({} if cursor is None else {"cursor": cursor})
    return Call(method="GET", path="/workflows", query=query)


def _check(shown: Shown, until: float | None, timeout: float | None) -> bool:
    """Whether it has ended. Raises TimeoutError."""
    if shown["state"] == "running" and until is not None and time.monotonic() >= until:
        raise TimeoutError(f"workflow {shown['id']} has not ended after {timeout:g} s: {shown['counts']}")
    return bool(shown["state"] != "running")


class Workflows:
    """Of a Client. Every method raises CallboardApiError when the API refuses and CallboardUnavailable."""

    def __init__(self, call: Callable[[Call], Any]) -> None:
        self._call = call

    def submit(
        self, tasks: Iterable[Mapping[str, Any]], name: str | None = None, *, idempotency_key: str | None = None
    ) -> Shown:
        """Posts tasks given as {"ref", "name", "args", "depends_on": [refs], …options}: all of them or none.

        Returns {"id", "ids": {ref: id of the task}}.
        """
        shown: Shown = self._call(_submit(tasks, name, idempotency_key))
        return shown

    def get(self, workflow: str | int) -> Shown:
        """Its state, and how many of its tasks are in which."""
        shown: Shown = self._call(_get(workflow))
        return shown

    def wait(self, workflow: str | int, timeout: float | None = None) -> Shown:
        """Returns it once all its tasks have ended. Raises TimeoutError after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not _check(shown := self.get(workflow), until, timeout):
            time.sleep(POLL)
        return shown

    def cancel(self, workflow: str | int) -> Shown:
        """Whatever of it has not ended; how many."""
        shown: Shown = self._call(_cancel(workflow))
        return shown

    def list(self) -> Iterator[Shown]:
        """All, the newest first."""
        cursor: str | None = None
        while True:
            found = self._call(_page(cursor))
            yield from found["items"]
            cursor = found.get("next_cursor")
            if not cursor:
                return


class AsyncWorkflows:
    """Of an AsyncClient; see Workflows."""

    def __init__(self, call: Callable[[Call], Awaitable[Any]]) -> None:
        self._call = call

    async def submit(
        self, tasks: Iterable[Mapping[str, Any]], name: str | None = None, *, idempotency_key: str | None = None
    ) -> Shown:
        """See Workflows.submit."""
        shown: Shown = await self._call(_submit(tasks, name, idempotency_key))
        return shown

    async def get(self, workflow: str | int) -> Shown:
        """See Workflows.get."""
        shown: Shown = await self._call(_get(workflow))
        return shown

    async def wait(self, workflow: str | int, timeout: float | None = None) -> Shown:
        """See Workflows.wait."""
        import anyio

        until = None if timeout is None else time.monotonic() + timeout
        while True:
            shown = await self.get(workflow)
            if _check(shown, until, timeout):
                return shown
            await anyio.sleep(POLL)

    async def cancel(self, workflow: str | int) -> Shown:
        """See Workflows.cancel."""
        shown: Shown = await self._call(_cancel(workflow))
        return shown

    async def list(self) -> AsyncIterator[Shown]:
        """All, the newest first."""
        cursor: str | None = None
        while True:
            found = await self._call(_page(cursor))
            for one in found["items"]:
                yield one
            cursor = found.get("next_cursor")
            if not cursor:
                return
