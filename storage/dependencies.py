"""Tasks that wait for others.

What stores a child is asyncio-flavoured, inside the transaction of its submission. Its parents are locked meanwhile:
one that has not ended when it is looked at ends after the child is there, and is put on the list of those whose
children are to be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.model.errors import BadValue
from actors.model.task import NewTask
from storage.connect import Connection
from storage.queries import sql


@dataclass(slots=True)
class Parents:
    """How the parents of a submission stand."""

    settled: Mapping[int, bool] = field(default_factory=dict)  # of those that have ended: whether they succeeded

    def left(self, task: NewTask) -> int:
        """How many a task waits for; among them those that failed: the resolver tells it, and it is cancelled."""
        return sum(not self.is_settled(parent, task) for parent in task.depends_on)

    def is_settled(self, parent: int, task: NewTask) -> bool:
        if parent not in self.settled:
            return False
        return self.settled[parent] or task.on_parent_failure == "run"


async def look(connection: Connection, tasks: Sequence[NewTask], places: Sequence[int], *, alone: bool) -> Parents:
    """Locks the parents. Raises BadValue for one that is not there."""
    wanted = {parent for place in places for parent in tasks[place].depends_on}
    if not wanted:
        return Parents()
    rows = await connection.fetch(sql("parents"), sorted(wanted))
    missing = wanted - {row["id"] for row in rows}
    if missing:
        for place in places:
            for index, parent in enumerate(tasks[place].depends_on):
                if parent in missing:
                    field = f"depends_on[{index}]" if alone else f"[{place}].depends_on[{index}]"
                    raise BadValue(field, f"task {parent} does not exist, or was pruned: depend on one that is there")
    unfinished = [row["id"] for row in rows if not row["final"]]
    if unfinished:
        await connection.execute(sql("have_children"), unfinished)
    return Parents({row["id"]: row["state"] == "succeeded" for row in rows if row["final"]})


async def connect(connection: Connection, stored: Sequence[tuple[int, NewTask]], parents: Parents) -> bool:
    """Edges of children that are stored. Whether a parent is to be resolved at once."""
    edges = [
        (child, parent, task.on_parent_failure == "cancel", parents.is_settled(parent, task))
        for child, task in stored
        for parent in task.depends_on
    ]
    if not edges:
        return False
    await connection.execute(sql("connect"), *map(list, zip(*edges, strict=True)))
    if hungry := [child for child, task in stored if task.inputs is not None and not parents.left(task)]:
        await connection.execute("SELECT callboard_give_inputs($1)", hungry)
    failed = sorted({parent for _, parent, _, settled in edges if not settled and parent in parents.settled})
    if failed:
        await connection.execute(
            "INSERT INTO callboard_finished_parents SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING", failed
        )
    return bool(failed)
