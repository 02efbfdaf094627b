"""How queues and handlers are shown."""

from __future__ import annotations

from datetime import datetime

from typing_extensions import TypedDict

from actors.model.queue import HandlerView, QueueView, Rate


class RateJson(TypedDict):
    limit: int
    period: float


class QueueJson(TypedDict):
    name: str
    depth: int  # tasks that wait
    due: int
    running: int  # assigned or running
    oldest_age: float | None  # seconds that the oldest due task has waited
    concurrency: int | None
    concurrency_per_key: int | None
    rate: RateJson | None
    rate_per_key: RateJson | None
    keep_succeeded: float | None  # seconds; null: as for all queues
    keep_unsuccessful: float | None
    paused: bool
    paused_reason: str | None
    paused_at: datetime | None


class QueuePage(TypedDict):
    items: list[QueueJson]
    next_cursor: str | None


class HandlerJson(TypedDict):
    name: str
    live: bool  # a live worker knows it
    queue: str | None
    max_tries: int | None
    timeout: float | None
    paused: bool
    paused_reason: str | None
    paused_at: datetime | None


class HandlerPage(TypedDict):
    items: list[HandlerJson]
    next_cursor: str | None


def queue_json(view: QueueView) -> QueueJson:
    return {
        "name": view.name,
        "depth": view.depth,
        "due": view.due,
        "running": view.running,
        "oldest_age": view.oldest,
        "concurrency": view.concurrency,
        "concurrency_per_key": view.concurrency_per_key,
        "rate": _rate(view.rate),
        "rate_per_key": _rate(view.rate_per_key),
        "keep_succeeded": view.keep_succeeded,
        "keep_unsuccessful": view.keep_unsuccessful,
        "paused": view.paused,
        "paused_reason": view.paused_reason,
        "paused_at": view.paused_at,
    }


def handler_json(view: HandlerView) -> HandlerJson:
    return {
        "name": view.name,
        "live": view.live,
        "queue": view.queue,
        "max_tries": view.max_tries,
        "timeout": view.timeout,
        "paused": view.paused_at is not None,
        "paused_reason": view.paused_reason,
        "paused_at": view.paused_at,
    }


def _rate(rate: Rate | None) -> RateJson | None:
    return None if rate is None else {"limit": rate.limit, "period": rate.period}
