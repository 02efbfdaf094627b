"""What the clients say to the HTTP API, and what they make of its answers. Pure: no input, no output."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict
from urllib.parse import quote

import httpx
import msgspec

from callboard.errors import CallboardApiError, CallboardError, CallboardUnavailable
from callboard.finite import has_infinite
from callboard.registry import definition_of

DEFAULT_URL = "http://127.0.0.1:8080"
MAX_BATCH = 10_000  # tasks
MAX_BATCH_BYTES = 15 * 1024 * 1024  # the API takes 16 MiB
MAX_WAIT = 60.0  # seconds that the API holds one question
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})

JSON = {"Content-Type": "application/json"}
Name = str | Callable[..., Any]  # a task name, or the decorated function
Ids = list[str]
Attempts = list[dict[str, Any]]


class SubmitOptions(TypedDict, total=False):
    """What a submission may say beside the name and the arguments; see `POST /api/v1/tasks`."""

    queue: str
    priority: int  # 1 urgent, 2 normal, 3 low, 4 background
    run_at: datetime | str
    delay: float | timedelta  # seconds
    timeout: float | timedelta  # seconds
    max_tries: int
    backoff: float | Mapping[str, Any]
    expires_at: datetime | str
    exclusive: bool
    retry_on_crash: bool
    tags: Sequence[str]
    metadata: Mapping[str, str]
    requirements: Mapping[str, str]  # labels that a worker must have
    concurrency_key: str
    weight: int  # slots that it takes
    affinity_key: str
    unique_key: str
    unique_until: str | float | timedelta  # "started", "finished", or seconds
    on_duplicate: str  # "existing" or "replace"
    depends_on: Sequence[str]  # ids
    on_parent_failure: str  # "cancel" or "run"
    inputs: str  # the argument that gets the results of depends_on: {id: result}


class Filters(TypedDict, total=False):
    """Which tasks a listing shows."""

    state: str
    name: str
    queue: str
    tag: str
    worker: str
    schedule: str  # the name of the schedule that posted it
    workflow: str  # the id of a workflow
    created_after: datetime | str
    created_before: datetime | str
    metadata: Mapping[str, str]


class Task(dict[str, Any]):
    """A task as the API shows it: a dict with all fields, the common ones also as attributes."""

    @property
    def id(self) -> str:
        return str(self["id"])

    @property
    def name(self) -> str:
        return str(self["name"])

    @property
    def state(self) -> str:
        return str(self["state"])

    @property
    def result(self) -> Any:
        return self.get("result")

    @property
    def error(self) -> Mapping[str, Any] | None:
        """type, message and traceback of the last failure."""
        found: Mapping[str, Any] | None = self.get("error")
        return found

    @property
    def is_final(self) -> bool:
        """Whether it has ended for good."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    method: str
    path: str  # below /api/v1
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True  # doing it twice is as good as once
    holds: float = 0.0  # seconds that the API may take on purpose


def submit(name: Name, args: Mapping[str, Any] | None, options: SubmitOptions, key: str | None) -> Call:
    body = encode({"name": name_of(name), "args": dict(args or {}), **plain(options)})
    return Call(method="POST", path="/tasks", body=body, headers=_headers(key))


def batches(items: Iterable[Mapping[str, Any]]) -> Iterator[Call]:
    """Calls of at most MAX_BATCH tasks and MAX_BATCH_BYTES each.

    Not repeated when it is unknown whether one was taken: a batch has no idempotency key of its own.
    """
    part: list[bytes] = []
    size = 0
    for item in items:
        one = encode({**plain(item), "name": name_of(item["name"])})
        if part and (len(part) == MAX_BATCH or size + len(one) > MAX_BATCH_BYTES):
            yield _batch(part)
            part, size = [], 0
        part.append(one)
        size += len(one) + 1
    if part:
        yield _batch(part)


def _batch(part: list[bytes]) -> Call:
    body = b"[%s]" % b",".join(part)
    return Call(method="POST", path="/tasks/batch", body=body, headers=_headers(None), repeatable=False)


def get(task: Task | str | int, wait: float = 0.0) -> Call:
    query = {"wait": f"{wait:g}"} if wait else {}
    return Call(method="GET", path=f"/tasks/{id_of(task)}", query=query, holds=wait)


def page(filters: Filters, cursor: str | None, limit: int) -> Call:
    query = {name: str(value) for name, value in plain(filters).items() if name != "metadata"}
    query |= {f"metadata.{name}": value for name, value in filters.get("metadata", {}).items()}
    query["limit"] = str(limit)
    if cursor is not None:
        query["cursor"] = cursor
    return Call(method="GET", path="/tasks", query=query)


def attempts(task: Task | str | int) -> Call:
    return Call(method="GET", path=f"/tasks/{id_of(task)}/attempts")


def explain(task: Task | str | int) -> Call:
    return Call(method="GET", path=f"/tasks/{id_of(task)}/explain")


def cancel(task: Task | str | int) -> Call:
    return Call(method="POST", path=f"/tasks/{id_of(task)}/cancel")


def retry(task: Task | str | int, with_children: bool) -> Call:
    """Posts a new task: not repeated when it is unknown whether that has happened."""
    body = encode({"with_children": True}) if with_children else None
    return Call(method="POST", path=f"/tasks/{id_of(task)}/retry", body=body, headers=JSON, repeatable=False)


def many(verb: str, ids: Iterable[Task | str | int] | None, filters: Filters, dry_run: bool) -> list[Call]:
    """Calls for all that is selected. Raises ValueError when it is nothing, or by ids and filters at once."""
    if (ids is None) == (not filters):
        raise ValueError("give either ids or filters, like state='failed'")
    if ids is None:
        where = plain(filters)
        if isinstance(where.get("state"), str):
            where["state"] = [one.strip() for one in where["state"].split(",")]
        bodies: list[dict[str, Any]] = [{"filter": where}]
    else:
        chosen = [one.id if isinstance(one, Task) else str(one) for one in ids]
        bodies = [{"ids": chosen[start : start + MAX_BATCH]} for start in range(0, len(chosen), MAX_BATCH)]
    extra = {"dry_run": True} if dry_run else {}
    return [
        Call(method="POST", path=f"/tasks/{verb}", body=encode({**body, **extra}), headers=JSON, repeatable=True)
        for body in bodies
    ]


def add_up(whole: dict[str, Any], done: Mapping[str, Any], repeats: bool) -> bool:
    """Adds the counts of one answer; whether to call again."""
    for name, value in done.items():
        if isinstance(value, bool):
            whole[name] = value
        elif isinstance(value, int):
            whole[name] = whole.get(name, 0) + value
        else:
            counts = whole.setdefault(name, {})
            for reason, count in value.items():
                counts[reason] = counts.get(reason, 0) + count
    return bool(repeats and done["more"] and done["matched"])


def name_of(name: Name) -> str:
    """Raises LookupError for a function that is no handler."""
    return name if isinstance(name, str) else definition_of(name).name


def id_of(task: Task | str | int) -> str:
    return quote(task.id if isinstance(task, Task) else str(task), safe="")


def encode(value: Any) -> bytes:
    """JSON. Raises ValueError for numbers that JSON doesn't have, TypeError for what can't be written."""
    body = msgspec.json.encode(value)
    if b"null" in body and has_infinite(value):
        raise ValueError("a number in it is not finite (NaN or infinity), which JSON doesn't have")
    return body


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Times and spans in JSON's types. Raises ValueError for a time without a zone."""
    return {name: _plain_value(name, value) for name, value in options.items()}


def _plain_value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} must have a time zone, got {value!r}; for example datetime.now(UTC)")
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def _headers(key: str | None) -> dict[str, str]:
    return {"Content-Type": "application/json", "Idempotency-Key": key or str(uuid.uuid4())}


def answer(response: httpx.Response) -> Any:
    """The JSON of a success. Raises CallboardApiError for a refusal, CallboardError for what is no Callboard."""
    if response.is_success:
        try:
            return msgspec.json.decode(response.content)
        except ValueError:
            raise CallboardError(f"the answer of {response.url} is not JSON: is this a Callboard api?") from None
    try:
        problem = msgspec.json.decode(response.content, type=dict[str, Any])
    except ValueError:
        problem = {}
    detail = problem.get("detail") or problem.get("title") or response.reason_phrase or "refused"
    raise CallboardApiError(
        response.status_code, problem.get("code"), str(detail), problem.get("errors") or (), problem.get("request_id")
    )


class Patience:
    """How long to wait before a call is repeated; for one call."""

    def __init__(self, call: Call, limit: float, clock: Callable[[], float]) -> None:
        self._call, self._clock, self._until, self._tries = call, clock, clock() + limit, 0

    def after_response(self, response: httpx.Response) -> float | None:
        """Seconds; None: the response is the answer."""
        if response.status_code == 429 or (response.status_code == 503 and self._call.repeatable):
            return self._pause(_retry_after(response))
        return None

    def after_error(self, error: httpx.TransportError) -> float:
        """Seconds. Raises CallboardUnavailable when it is time, or not safe, to repeat the call."""
        never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        pause = self._pause(None) if never_sent or self._call.repeatable else None
        if pause is None:
            what = str(error) or type(error).__name__
            doubt = "" if never_sent or self._call.method == "GET" else "; it may have been done nevertheless"
            raise CallboardUnavailable(f"{self._call.method} {self._call.path}: {what}{doubt}") from error
        return pause

    def _pause(self, asked: float | None) -> float | None:
        self._tries += 1
        wait = random.uniform(0.5, 1.0) * min(5.0, 0.2 * 2.0 ** min(self._tries, 10))
        if asked is not None:
            wait = max(wait, asked)
        return wait if self._clock() + wait <= self._until else None


def _retry_after(response: httpx.Response) -> float | None:
    try:
        found = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
