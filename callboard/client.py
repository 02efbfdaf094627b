"""The clients of the HTTP API: one that blocks, one for Trio (and whatever else anyio runs on).

Both repeat a call that could not be delivered, or that was answered 503 or 429, for as long as `retry_for`
seconds, where a repeat is safe: a submission always carries an idempotency key.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from callboard import calls
from callboard.calls import Attempts, Call, Filters, Ids, Name, Patience, SubmitOptions, Task
from callboard.queues import AsyncHandlers, AsyncQueues, Handlers, Queues
from callboard.schedules import AsyncSchedules, Schedules
from callboard.workflows import AsyncWorkflows, Workflows

_PAGE = 200


class _Settings:
    """Where the API is and how to talk to it."""

    def __init__(self, url: str | None, token: str | None, timeout: float, retry_for: float) -> None:
        self.url = (url or os.environ.get("CALLBOARD_API_URL") or calls.DEFAULT_URL).rstrip("/")
        token = token or os.environ.get("CALLBOARD_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.retry_for, self.timeout = retry_for, timeout
        # No proxy of the environment: the API is one's own, and mostly near.
        self.httpx: dict[str, Any] = {"base_url": f"{self.url}/api/v1", "headers": headers, "trust_env": False}

    def request(self, call: Call) -> dict[str, Any]:
        return {
            "method": call.method,
            "url": call.path,
            "params": call.query,
            "content": call.body,
            "headers": call.headers,
            "timeout": self.timeout + call.holds,
        }


class Client:
    """Blocks. Use it as a context manager, or close it.

    url: default CALLBOARD_API_URL, else http://127.0.0.1:8080. token: default CALLBOARD_TOKEN.
    timeout: seconds for one exchange. retry_for: seconds for repeats of one call.

    Every method raises CallboardApiError when the API refuses and CallboardUnavailable when nobody answers.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 15.0,
        retry_for: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(url, token, timeout, retry_for)
        self._http = httpx.Client(**self._settings.httpx, transport=transport)
        self.schedules = Schedules(self._call)
        self.workflows = Workflows(self._call)
        self.queues, self.handlers = Queues(self._call), Handlers(self._call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        name: Name,
        args: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Task:
        """Posts a task; `name` may be the decorated function. Returned means that it is stored."""
        return Task(self._call(calls.submit(name, args, options, idempotency_key)))

    def submit_many(self, items: Iterable[Mapping[str, Any]]) -> Ids:
        """Posts tasks given as {"name", "args", …options}; their ids, in this order.

        Sent in batches of at most 10,000; each is taken whole or not at all.
        """
        return [id for call in calls.batches(items) for id in self._call(call)["ids"]]

    def get(self, task: Task | str | int) -> Task:
        """A task by its id."""
        return Task(self._call(calls.get(task)))

    def wait(self, task: Task | str | int, timeout: float | None = None) -> Task:
        """Returns the task once it is final, however it ended. Raises TimeoutError after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            found = Task(self._call(calls.get(task, _wait(until))))
            if found.is_final:
                return found
            _check_time(found, until, timeout)

    def attempts(self, task: Task | str | int) -> Attempts:
        """Attempts that ended otherwise than with success, and refused late outcomes, the oldest first."""
        found: Attempts = (self._call(calls.attempts(task)))["items"]
        return found

    def explain(self, task: Task | str | int) -> dict[str, Any]:
        """Why it waits, where it went, why it is not tried again: {"summary", "reasons", "placement", "retry", …}."""
        found: dict[str, Any] = self._call(calls.explain(task))
        return found

    def cancel(self, task: Task | str | int) -> Task:
        """Asks for a stop; the state says whether it is `cancelled` already or `cancelling`."""
        return Task(self._call(calls.cancel(task)))

    def retry(self, task: Task | str | int, *, with_children: bool = False) -> Task:
        """Posts a failed task again; the new one. `with_children`: also what was cancelled because it failed."""
        return Task(self._call(calls.retry(task, with_children)))

    def cancel_many(
        self, ids: Iterable[Task | str | int] | None = None, *, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> dict[str, Any]:
        """Cancels tasks by ids, or all that match: {"matched", "cancelled", "cancelling", "skipped", …}."""
        whole: dict[str, Any] = {}
        for call in calls.many("cancel", ids, filters, dry_run):
            while calls.add_up(whole, self._call(call), ids is None and not dry_run):
                pass
        return whole

    def retry_many(
        self, ids: Iterable[Task | str | int] | None = None, *, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> dict[str, Any]:
        """Posts finished tasks anew, each once; without `state` those that failed: {"matched", "retried", …}."""
        whole: dict[str, Any] = {}
        for call in calls.many("retry", ids, filters, dry_run):
            while calls.add_up(whole, self._call(call), ids is None and not dry_run):
                pass
        return whole

    def list(self, **filters: Unpack[Filters]) -> Iterator[Task]:
        """All tasks that match, page by page, in the order of the API."""
        cursor: str | None = None
        while True:
            found = self._call(calls.page(filters, cursor, _PAGE))
            yield from map(Task, found["items"])
            cursor = found.get("next_cursor")
            if not cursor:
                return

    def _call(self, call: Call) -> Any:
        patience = Patience(call, self._settings.retry_for, time.monotonic)
        while True:
            try:
                response = self._http.request(**self._settings.request(call))
            except httpx.TransportError as error:
                pause: float | None = patience.after_error(error)
            else:
                pause = patience.after_response(response)
                if pause is None:
                    return calls.answer(response)
            time.sleep(pause or 0.0)


class AsyncClient:
    """The same for Trio; see Client. Use it as `async with`, or `aclose()` it."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 15.0,
        retry_for: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(url, token, timeout, retry_for)
        self._http = httpx.AsyncClient(**self._settings.httpx, transport=transport)
        self.schedules = AsyncSchedules(self._call)
        self.workflows = AsyncWorkflows(self._call)
        self.queues, self.handlers = AsyncQueues(self._call), AsyncHandlers(self._call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def submit(
        self,
        name: Name,
        args: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Task:
        """See Client.submit."""
        return Task(await self._call(calls.submit(name, args, options, idempotency_key)))

    async def submit_many(self, items: Iterable[Mapping[str, Any]]) -> Ids:
        """See Client.submit_many."""
        ids: Ids = []
        for call in calls.batches(items):
            ids += (await self._call(call))["ids"]
        return ids

    async def get(self, task: Task | str | int) -> Task:
        """See Client.get."""
        return Task(await self._call(calls.get(task)))

    async def wait(self, task: Task | str | int, timeout: float | None = None) -> Task:
        """See Client.wait."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            found = Task(await self._call(calls.get(task, _wait(until))))
            if found.is_final:
                return found
            _check_time(found, until, timeout)

    async def attempts(self, task: Task | str | int) -> Attempts:
        """Attempts that ended otherwise than with success, and refused late outcomes, the oldest first."""
        found: Attempts = (await self._call(calls.attempts(task)))["items"]
        return found

    async def explain(self, task: Task | str | int) -> dict[str, Any]:
        """See Client.explain."""
        found: dict[str, Any] = await self._call(calls.explain(task))
        return found

    async def cancel(self, task: Task | str | int) -> Task:
        """See Client.cancel."""
        return Task(await self._call(calls.cancel(task)))

    async def retry(self, task: Task | str | int, *, with_children: bool = False) -> Task:
        """See Client.retry."""
        return Task(await self._call(calls.retry(task, with_children)))

    async def cancel_many(
        self, ids: Iterable[Task | str | int] | None = None, *, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> dict[str, Any]:
        """Cancels tasks by ids, or all that match: {"matched", "cancelled", "cancelling", "skipped", …}."""
        whole: dict[str, Any] = {}
        for call in calls.many("cancel", ids, filters, dry_run):
            while calls.add_up(whole, await self._call(call), ids is None and not dry_run):
                pass
        return whole

    async def retry_many(
        self, ids: Iterable[Task | str | int] | None = None, *, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> dict[str, Any]:
        """Posts finished tasks anew, each once; without `state` those that failed: {"matched", "retried", …}."""
        whole: dict[str, Any] = {}
        for call in calls.many("retry", ids, filters, dry_run):
            while calls.add_up(whole, await self._call(call), ids is None and not dry_run):
                pass
        return whole

    async def list(self, **filters: Unpack[Filters]) -> AsyncIterator[Task]:
        """See Client.list."""
        cursor: str | None = None
        while True:
            found = await self._call(calls.page(filters, cursor, _PAGE))
            for item in found["items"]:
                yield Task(item)
            cursor = found.get("next_cursor")
            if not cursor:
                return

    async def _call(self, call: Call) -> Any:
        import anyio

        patience = Patience(call, self._settings.retry_for, time.monotonic)
        while True:
            try:
                response = await self._http.request(**self._settings.request(call))
            except httpx.TransportError as error:
                pause: float | None = patience.after_error(error)
            else:
                pause = patience.after_response(response)
                if pause is None:
                    return calls.answer(response)
            await anyio.sleep(pause or 0.0)


def _wait(until: float | None) -> float:
    """How long the API may hold the next question; it takes at least a moment, so that nobody asks in a circle."""
    left = calls.MAX_WAIT if until is None else until - time.monotonic()
    return round(min(max(left, 0.05), calls.MAX_WAIT), 3)


def _check_time(task: Task, until: float | None, timeout: float | None) -> None:
    if until is not None and time.monotonic() >= until:
        raise TimeoutError(f"task {task.id} is {task.state} after {timeout:g} s")
