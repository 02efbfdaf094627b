"""Submissions that depend on what is stored already: unique keys and dependencies, in a transaction of their own.

Locks come in one order: idempotency keys are looked at, unique keys locked, their holders by id, then parents by id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.model.errors import StorageUnavailable
from actors.model.lane import LaneKey, lane_key
from actors.model.ports import Submitted
from actors.model.task import NewTask
from storage import dependencies, unique
from storage.connect import Connection
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.pool import Pool, always, never
from storage.queries import sql
from storage.submit import Bonds, conflict, parameters_of


@dataclass(slots=True)
class _Done:
    answers: list[Submitted | Exception]
    topics: list[str] = field(default_factory=list)  # what to tell this process after the commit


class BoundSubmission:
    """Stores all of a group or nothing."""

    def __init__(self, pool: Pool, lanes: Lanes, notifier: Notifier) -> None:
        self._pool, self._lanes, self._notifier = pool, lanes, notifier

    async def store(self, tasks: Sequence[NewTask]) -> list[Submitted | Exception]:
        """Raises BadValue, in a group with the place of the task in its field: ``[3].depends_on[0]``."""
        lanes = await self._lanes.intern(set(map(lane_key, tasks)))

        async def work(connection: Connection) -> _Done:
            async with connection.transaction():
                answers = await self._known(connection, tasks)
                places = [place for place in range(len(tasks)) if place not in answers]
                keys = await unique.look(connection, tasks, places)
                answers |= {place: Submitted(task, False) for place, task in keys.existing.items()}
                fresh = [place for place in places if place not in answers and place not in keys.same]
                parents = await dependencies.look(connection, tasks, fresh, alone=len(tasks) == 1)
                done = _Done([])
                ids = await self._insert(connection, tasks, fresh, lanes, parents, done)
                stored = [(ids[place], tasks[place]) for place in fresh]
                if await dependencies.connect(connection, stored, parents):
                    done.topics.append("parents")
                if await unique.hold(connection, tasks, keys, ids):
                    done.topics.append("final")
                answers |= {place: Submitted(ids[place], True) for place in fresh}
                answers |= {place: Submitted(ids[holder], False) for place, holder in keys.same.items()}
                done.answers = [answers[place] for place in range(len(tasks))]
                return done

        keyed = all(task.idempotency_key is not None for task in tasks)
        done = await self._pool.run(work, repeatable=always if keyed else never)
        for topic in done.topics:
            self._notifier.notify(topic)
        return done.answers

    async def _known(self, connection: Connection, tasks: Sequence[NewTask]) -> dict[int, Submitted | Exception]:
        """Answers to those whose idempotency keys were used before."""
        places = [place for place, task in enumerate(tasks) if task.idempotency_key is not None]
        if not places:
            return {}
        rows = await connection.fetch(
            sql("known_keys"),
            [tasks[place].idempotency_key for place in places],
            [tasks[place].request_hash for place in places],
        )
        found: dict[int, Submitted | Exception] = {}
        for row in rows:
            place = places[row["n"] - 1]
            found[place] = Submitted(row["task_id"], False) if row["same"] else conflict(tasks[place], row["task_id"])
        return found

    async def _insert(
        self, connection: Connection, tasks: Sequence[NewTask], places: Sequence[int], lanes: Mapping[LaneKey, int],
        parents: dependencies.Parents, done: _Done,
    ) -> list[int]:  # fmt: skip
        """Ids by place; 0 where none was stored."""
        ids = [0] * len(tasks)
        if places:
            new = [tasks[place] for place in places]
            bonds = [Bonds(len(task.depends_on), parents.left(task)) for task in new]
            row = await connection.fetchrow(
                sql("submit"), *parameters_of(new, lanes, self._notifier.channel("due"), bonds)
            )
            assert row is not None
            if len(row["stored"] or ()) < len(new):
                raise StorageUnavailable("the same Idempotency-Key was used at this very moment; repeat the submission")
            for place, number in zip(places, row["ids"], strict=True):
                ids[place] = number
            if row["due"]:
                done.topics.append("due")
        return ids
