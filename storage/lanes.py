"""Lanes and declared handlers, with a cache: a claim returns lane numbers, people want names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from actors.model.lane import Lane, LaneKey
from actors.model.task import DEFAULT_QUEUE
from actors.model.worker import HandlerInfo
from storage.pool import Pool
from storage.queries import sql


class Lanes:
    """Only grows: lanes are never deleted, so a cached number is right for ever."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ids: dict[LaneKey, int] = {}
        self._lanes: dict[int, Lane] = {}

    async def read(self) -> list[Lane]:
        rows = await self._pool.fetch(sql("lanes"), DEFAULT_QUEUE)
        self._lanes = {
            row["id"]: Lane(
                row["id"],
                row["name"],
                row["queue"],
                json.loads(row["requirements"]),
                row["keyed"],
                row["placed"],
                row["special"],
            )
            for row in rows
        }
        return list(self._lanes.values())

    async def intern(self, keys: Iterable[LaneKey]) -> Mapping[LaneKey, int]:
        """Numbers for kinds of tasks; new ones are added."""
        unknown = list({key for key in keys if key not in self._ids})
        while unknown:
            rows = await self._pool.fetch(sql("intern_lanes"), *map(list, zip(*unknown, strict=True)))
            self._ids.update({unknown[row["n"] - 1]: row["id"] for row in rows})
            # A lane that another session added at this very moment shows in the next round.
            unknown = [key for key in unknown if key not in self._ids]
        return self._ids

    async def declare(self, handlers: Sequence[HandlerInfo]) -> None:
        if handlers:
            await self._pool.execute(
                sql("declare_handlers"),
                [handler.name for handler in handlers],
                [handler.queue for handler in handlers],
                [handler.max_tries for handler in handlers],
                [handler.timeout for handler in handlers],
                [json.dumps(dict(handler.backoff)) if handler.backoff else None for handler in handlers],
                [json.dumps(dict(handler.args)) for handler in handlers],
            )

    def knows(self, lanes: Iterable[int]) -> bool:
        return self._lanes.keys() >= set(lanes)

    def columns(self, lanes: Sequence[int]) -> tuple[list[str], list[int]]:
        """Distinct names, and an index for each task."""
        distinct = list(dict.fromkeys(lanes))
        place = {lane: index for index, lane in enumerate(distinct)}
        return [self._lanes[lane].name for lane in distinct], list(map(place.__getitem__, lanes))
