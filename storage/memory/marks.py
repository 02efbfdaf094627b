"""T2 and progress: what workers tell of attempts that are out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from actors.model.errors import BadValue
from actors.model.worker import Held
from storage.memory.rows import HELD, TaskRow
from storage.memory.tables import Changes, Tables
from storage.memory.values import later, stored
from storage.sanitize import storable

log = logging.getLogger(__name__)

LONGEST = 2_000_000.0  # seconds that a timeout counts for


def mark_accepted(tables: Tables, held: Sequence[Held]) -> None:
    """Closes the acknowledgement window of what the worker has taken and not begun."""
    changes = Changes()
    for task in _assigned(tables, held):
        if task.ack_by is not None:
            changes.tasks[task.id] = replace(task, ack_by=None)
    tables.apply(changes)


def mark_started(tables: Tables, held: Sequence[Held], default_timeout: float | None) -> None:
    now, changes = tables.now(), Changes()
    for task in _assigned(tables, held):
        given = tables.timeout(task)
        limit = default_timeout if given is None else given
        until = None if limit is None else later(now, min(limit, LONGEST))
        changes.tasks[task.id] = replace(task, state="running", started_at=now, ack_by=None, exec_until=until)
    tables.apply(changes)


def _assigned(tables: Tables, held: Sequence[Held]) -> Iterator[TaskRow]:
    for one in held:
        task = tables.tasks.get(one.task_id)
        if task is not None and (task.state, task.attempt, task.lease_key) == ("assigned", one.attempt, one.lease_key):
            yield task


def save_progress(tables: Tables, values: Sequence[tuple[int, int, str]]) -> None:
    """The newest of each attempt that is out; a value that can't be held is dropped."""
    changes = Changes()
    try:
        for (number, attempt), value in {(task, attempt): value for task, attempt, value in values}.items():
            task = tables.tasks.get(number)
            if task is not None and task.attempt == attempt and task.state in HELD:
                changes.tasks[number] = replace(task, progress=stored(storable(value)))
    except BadValue as error:
        if len(values) == 1:
            log.info("progress of task %d was dropped: %s", values[0][0], error)
            return
        half = len(values) // 2
        save_progress(tables, values[:half])
        save_progress(tables, values[half:])
        return
    tables.apply(changes)
