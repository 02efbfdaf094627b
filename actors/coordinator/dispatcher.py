"""Claims due tasks for free slots and hands them out in turn."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any

import trio

from actors.coordinator.membership import Link, Membership
from actors.coordinator.rules import CLAIM, round_robin, serves
from actors.model.errors import StorageError, StorageTimeout
from actors.model.lease import LeaseTerms
from actors.model.ports import Claimed, DispatchStore, Lane

log = logging.getLogger(__name__)

LANES_AGE = 5.0  # seconds after which lanes are read again though nothing hinted at a new one
GATHER = 0.005  # seconds: with a backlog, how long a small claim waits to become a larger one


class Dispatcher:
    """One claim at a time; completions run beside it on connections of their own."""

    def __init__(
        self,
        store: DispatchStore,
        membership: Membership,
        hints: trio.MemoryReceiveChannel[None],
        terms: LeaseTerms,
    ) -> None:
        self._store, self._membership, self._hints, self._terms = store, membership, hints, terms
        self._lanes: list[Lane] = []
        self._lanes_read = -1e9
        self._groups: list[tuple[list[Link], list[int]]] = []
        self._grouped: tuple[int, int] = (-1, -1)
        self._lanes_version = 0
        self._backlog = False
        self.paused = False  # the coordinator stops: claim nothing more

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_hints_on)
            while True:
                try:
                    more = await self.run_once()
                except StorageError as error:
                    log.warning("dispatch waits for the database: %s", error)
                    self._backlog = True  # it may hold anything by now
                    await trio.sleep(0.2)
                    continue
                if not more:
                    await self._wait()

    async def _pass_hints_on(self) -> None:
        async for _ in self._hints:
            self._backlog = True
            self._membership.wake()

    async def _wait(self) -> None:
        """Until room or work is hinted at, at most one poll period."""
        with trio.move_on_after(self._terms.poll) as poll:
            await self._membership.room.receive()
            if self._backlog and self._free() < CLAIM:
                await trio.sleep(GATHER)
        if poll.cancelled_caught:
            self._backlog = True

    def _free(self) -> int:
        now = trio.current_time()
        return sum(link.room(now, self._suspect_after) for link in self._membership)

    @property
    def _suspect_after(self) -> float:
        return 1.5 * self._terms.heartbeat

    async def run_once(self) -> bool:
        """One claim for each group of equal workers that has room; whether it is worth going on at once."""
        if self.paused or not self._backlog or not len(self._membership):
            return False
        await self._refresh_lanes()
        now, more, claimed, lacked_room = trio.current_time(), False, 0, False
        for links, lanes in self._groups:
            room = [link.room(now, self._suspect_after) for link in links]
            if not any(room) or not lanes:
                lacked_room = lacked_room or bool(lanes)
                continue
            got, full = await self._claim(links, lanes, room)
            claimed, more = claimed + got, more or full
        if not claimed and not more and not lacked_room:
            if await self._refresh_lanes(force=trio.current_time() - self._lanes_read > 0.2):
                return True
            self._backlog = False
        return more

    async def _claim(self, links: Sequence[Link], lanes: Sequence[int], room: Sequence[int]) -> tuple[int, bool]:
        """Claims for one group; how many were assigned, and whether more may be due."""
        wanted = min(CLAIM, sum(room))
        turns = round_robin([link.given for link in links], room, wanted)
        key = uuid.uuid4().bytes
        sessions = [(link.session.id, link.session.epoch) for link in links]
        try:
            shares, seen = await self._store.claim(
                lease_key=key,
                lanes=lanes,
                sessions=sessions,
                slots=turns,
                ack_window=self._terms.ack_window,
                claim_margin=self._terms.claim_margin,
            )
        except StorageTimeout:
            shares, seen = await self._store.claimed(key, sessions), 0
        return self._hand_out(links, shares), seen >= len(turns)

    def _hand_out(self, links: Sequence[Link], shares: Sequence[Claimed]) -> int:
        now, count = trio.current_time(), 0
        for share in shares:
            links[share.slot].assign(share.assignment, now)
            count += len(share.assignment)
        return count

    async def _refresh_lanes(self, *, force: bool = False) -> bool:
        """Reads the lanes when they are old, and groups the workers; whether there are new lanes."""
        changed = False
        if force or trio.current_time() - self._lanes_read > LANES_AGE:
            lanes = await self._store.lanes()
            self._lanes_read = trio.current_time()
            if lanes != self._lanes:
                self._lanes, changed = lanes, True
                self._lanes_version += 1
        wanted = (self._membership.version, self._lanes_version)
        if wanted != self._grouped:
            self._groups, self._grouped = group(list(self._membership), self._lanes), wanted
        elif len(self._groups) > 1:
            self._groups.append(self._groups.pop(0))  # each group is first in its turn
        return changed

    def forget_lanes(self) -> None:
        """A worker declared handlers: what a lane means may have changed."""
        self._lanes_read = -1e9
        self._backlog = True
        self._membership.wake()


def group(links: Sequence[Link], lanes: Sequence[Lane]) -> list[tuple[list[Link], list[int]]]:
    """Workers that serve the same lanes, together: one claim serves all of a group."""
    groups: dict[tuple[int, ...], list[Link]] = {}
    for link in links:
        served = tuple(lane.id for lane in lanes if serves(link.worker, link.handlers, lane))
        groups.setdefault(served, []).append(link)
    return [(members, list(served)) for served, members in groups.items()]
