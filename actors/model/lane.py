"""Lanes: tasks of one kind, as one small integer. A claim reads lanes, never single tasks, to know who may run what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from actors.model.task import NewTask


class LaneKey(NamedTuple):
    """What tasks of one lane have in common."""

    name: str  # of the handler
    queue: str | None = None  # as given
    requirements: str = "{}"  # JSON with sorted keys
    keyed: bool = False  # they have a concurrency key
    placed: bool = False  # they have a weight or an affinity key


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane as dispatchers see it."""

    id: int
    name: str
    queue: str  # effective
    requirements: Mapping[str, str]
    keyed: bool = False
    placed: bool = False
    special: bool = False  # placed, paused, or of a queue with limits: not for the usual claim


def lane_key(task: NewTask) -> LaneKey:
    return LaneKey(
        task.name,
        task.queue,
        json.dumps(dict(task.requirements), sort_keys=True) if task.requirements else "{}",
        task.concurrency_key is not None,
        task.weight > 1 or task.affinity_key is not None,
    )
