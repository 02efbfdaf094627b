"""Unique keys: of tasks that have the same one, one at a time waits or runs.

asyncio-flavoured, inside the transaction of a submission. A key is locked before it is looked at, in a statement of
its own: the next one sees what whoever had the lock before has committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.model.task import NewTask
from storage.connect import Connection
from storage.queries import sql


@dataclass(slots=True)
class Keys:
    """What a submission finds and leaves behind; places count within it."""

    existing: dict[int, int] = field(default_factory=dict)  # place → the task that holds its key
    same: dict[int, int] = field(default_factory=dict)  # place → the earlier place that holds its key
    winners: dict[str, int] = field(default_factory=dict)  # key → the place that gets it
    replaced: dict[int, int] = field(default_factory=dict)  # waiting task → the place that takes its place
    replaced_places: dict[int, int] = field(default_factory=dict)  # the same for an earlier place


async def look(connection: Connection, tasks: Sequence[NewTask], places: Sequence[int]) -> Keys:
    """Locks the keys of these places, and decides who is stored."""
    wanted = sorted({key for place in places if (key := tasks[place].unique_key) is not None})
    found = Keys()
    if not wanted:
        return found
    await connection.execute(sql("lock_unique"), wanted)
    holders = {row["key"]: row for row in await connection.fetch(sql("unique_holders"), wanted)}
    for place in places:
        key = tasks[place].unique_key
        if key is None:
            continue
        replaces = tasks[place].on_duplicate == "replace"
        if key in found.winners:
            if not replaces:
                found.same[place] = found.winners[key]
                continue
            found.replaced_places[found.winners[key]] = place
        elif (holder := holders.get(key)) is not None:
            if not replaces:
                found.existing[place] = holder["id"]
                continue
            if holder["waits"]:
                found.replaced[holder["id"]] = place
        found.winners[key] = place
    # The last of several winners has the place of them all.
    found.replaced = {task: found.winners[str(tasks[place].unique_key)] for task, place in found.replaced.items()}
    return found


async def hold(connection: Connection, tasks: Sequence[NewTask], keys: Keys, ids: Sequence[int]) -> bool:
    """After the tasks were stored under these ids: enters who holds what. Whether a waiting task was cancelled."""
    if keys.winners:
        held = [(key, ids[place], tasks[place].unique_until) for key, place in sorted(keys.winners.items())]
        await connection.execute(
            sql("hold_unique"),
            [key for key, _, _ in held],
            [task for _, task, _ in held],
            [until if isinstance(until, str) else "period" for _, _, until in held],
            [None if isinstance(until, str) else float(until) for _, _, until in held],
        )
    victims = {**keys.replaced, **{ids[earlier]: later for earlier, later in keys.replaced_places.items()}}
    if victims:
        ordered = sorted(victims)
        await connection.execute(sql("replace"), ordered, [ids[victims[task]] for task in ordered])
    return bool(victims)
