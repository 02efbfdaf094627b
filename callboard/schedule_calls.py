"""What the clients say to the HTTP API about schedules. Pure: no input, no output."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict
from urllib.parse import quote

from callboard.calls import JSON, Call, Name, SubmitOptions, encode, name_of, plain


class ScheduleOptions(TypedDict, total=False):
    """When a schedule fires, and what else it may say; see `PUT /api/v1/schedules/{name}`. One of cron, every, at."""

    cron: str
    every: float | timedelta  # seconds
    at: datetime | str
    seconds: bool  # cron has six fields
    timezone: str
    dst_gap: str  # shift, skip
    dst_fold: str  # first, last, both
    overlap: str  # allow, skip, queue_one, cancel_running
    catch_up: str  # none, last, all
    catch_up_window: float | timedelta  # seconds
    catch_up_cap: int
    jitter: float | timedelta  # seconds
    start_at: datetime | str
    end_at: datetime | str
    paused: bool


def put(
    name: str, task: Name, args: Mapping[str, Any] | None, task_options: SubmitOptions | None, options: ScheduleOptions
) -> Call:
    template = {"name": name_of(task), "args": dict(args or {}), **plain(task_options or {})}
    return Call(
        method="PUT", path=_path(name), body=encode({**plain(options), "task": template}), headers=JSON
    )  # fmt: skip


def change(name: str, options: ScheduleOptions) -> Call:
    return Call(method="PATCH", path=_path(name), body=encode(plain(options)), headers=JSON)


def get(name: str) -> Call:
    return Call(method="GET", path=_path(name))


def delete(name: str) -> Call:
    """Not repeated when it is unknown whether it was done: the repeat would find nothing."""
    return Call(method="DELETE", path=_path(name), repeatable=False)


def pause(name: str, reason: str | None) -> Call:
    body = encode({} if reason is None else {"reason": reason})
    return Call(method="POST", path=f"{_path(name)}/pause", body=body, headers=JSON)


def resume(name: str) -> Call:
    return Call(method="POST", path=f"{_path(name)}/resume")


def trigger(name: str) -> Call:
    """Posts a task: not repeated when it is unknown whether that has happened."""
    return Call(method="POST", path=f"{_path(name)}/trigger", repeatable=False)


def backfill(name: str, start: datetime | str, until: datetime | str) -> Call:
    body = encode(plain({"from": start, "until": until}))
    return Call(method="POST", path=f"{_path(name)}/backfill", body=body, headers=JSON)


def preview(name: str, count: int) -> Call:
    return Call(method="GET", path=f"{_path(name)}/preview", query={"count": str(count)})


def page(path: str, cursor: str | None, limit: int) -> Call:
    query = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
    return Call(method="GET", path=path, query=query)


def slots_path(name: str) -> str:
    return f"{_path(name)}/slots"


def _path(name: str) -> str:
    return f"/schedules/{quote(name, safe='')}"
