"""What the HTTP application needs of its node; composed in api/server_node.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from actors.model.bulk import BulkStore
from actors.model.explain import ExplainStore
from actors.model.ports import Submitted, TaskStore, Wakeups
from actors.model.queue import QueueStore
from actors.model.schedule_port import ScheduleStore
from actors.model.task import NewTask
from actors.model.workflow import WorkflowStore
from api.http.waiters import Waiters
from api.settings import Settings


@dataclass(slots=True, kw_only=True)
class Services:
    """Every call is Trio-flavoured; `checks`, `ready` and `metrics` answer at once from memory."""

    settings: Settings
    store: TaskStore
    schedules: ScheduleStore
    workflows: WorkflowStore
    queues: QueueStore
    explain: ExplainStore
    bulk: BulkStore
    submit: Callable[[Sequence[NewTask]], Awaitable[list[Submitted | Exception]]]
    wakeups: Wakeups
    supervision: Callable[[], Awaitable[list[dict[str, Any]]]]
    checks: Callable[[], Mapping[str, Mapping[str, Any]]]  # name → {"status", "detail", "age"}
    ready: Callable[[], tuple[bool, str]]
    metrics: Callable[[], Mapping[str, float]]  # counters (names end in _total) and gauges of this node
    stopping: trio.Event = field(default_factory=trio.Event)  # set: requests that wait are answered at once
    waiters: Waiters = field(init=False)  # run by the application; also for whoever waits beside HTTP

    def __post_init__(self) -> None:
        self.waiters = Waiters(self.store, self.wakeups, self.stopping)
