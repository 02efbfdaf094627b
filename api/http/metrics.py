"""/metrics, as Prometheus reads it. Each application has a registry of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from quart import Blueprint, Response

from actors.model.errors import StorageError
from actors.model.ports import TaskStore

FRESH = 2.0  # seconds: counting costs the database something
STATS_LIMIT = 3.0  # seconds
_NAME = re.compile(r"[^a-zA-Z0-9_]")


class StatsCache:
    """store.stats(), asked at most every FRESH seconds; None while the database is away."""

    def __init__(self, store: TaskStore) -> None:
        self._store, self._reading = store, trio.Lock()
        self._asked_at = float("-inf")
        self.value: Mapping[str, Any] | None = None

    async def refresh(self) -> None:
        async with self._reading:
            if trio.current_time() - self._asked_at < FRESH:
                return
            found: Mapping[str, Any] | None = None
            with trio.move_on_after(STATS_LIMIT):
                try:
                    found = await self._store.stats()
                except StorageError:
                    found = None
            self.value, self._asked_at = found, trio.current_time()


class NodeCollector(Collector):
    """Counters and gauges of the node's actors, and what the database counts."""

    def __init__(
        self, metrics: Callable[[], Mapping[str, float]], stats: Callable[[], Mapping[str, Any] | None]
    ) -> None:
        self._metrics, self._stats = metrics, stats

    def collect(self) -> Iterator[Metric]:
        for name, value in self._metrics().items():
            full = "callboard_" + _NAME.sub("_", name.removeprefix("callboard_"))
            words = name.removeprefix("callboard_").removesuffix("_total").replace("_", " ")
            if full.endswith("_total"):
                yield CounterMetricFamily(full.removesuffix("_total"), f"{words}, on this node", value=value)
            else:
                yield GaugeMetricFamily(full, f"{words}, on this node", value=value)
        stats = self._stats()
        yield GaugeMetricFamily(
            "callboard_database_up", "Whether the database answered", value=float(stats is not None)
        )
        if stats is not None:
            yield from _from_stats(stats)


def _from_stats(stats: Mapping[str, Any]) -> Iterator[Metric]:
    tasks = GaugeMetricFamily("callboard_tasks", "Tasks by state, counted up to a bound", labels=["state"])
    for state, count in stats.get("tasks", {}).items():
        tasks.add_metric([state], count)
    yield tasks
    workers = GaugeMetricFamily("callboard_workers", "Worker sessions by state", labels=["state"])
    for state, count in stats.get("workers", {}).items():
        workers.add_metric([state], count)
    yield workers
    depth = GaugeMetricFamily("callboard_queue_depth", "Waiting tasks, due or not", labels=["queue"])
    due = GaugeMetricFamily("callboard_queue_due", "Waiting tasks that are due", labels=["queue"])
    oldest = GaugeMetricFamily("callboard_queue_oldest_age_seconds", "Age of the oldest due task", labels=["queue"])
    for queue in stats.get("queues", []):
        depth.add_metric([queue["name"]], queue["depth"])
        due.add_metric([queue["name"]], queue.get("due", 0))
        if queue.get("oldest_age") is not None:
            oldest.add_metric([queue["name"]], float(queue["oldest_age"]))
    yield from (depth, due, oldest)


def metrics_blueprint(
    metrics: Callable[[], Mapping[str, float]], cache: StatsCache | None, more: Collector | None = None
) -> Blueprint:
    """`cache` None: a node without a database of its own."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    if cache is not None:
        registry.register(NodeCollector(metrics, lambda: cache.value))
    if more is not None:
        registry.register(more)
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def show() -> Response:
        if cache is not None:
            await cache.refresh()
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return routes
