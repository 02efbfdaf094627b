"""When a submission may carry a claim along, and what becomes of the room that was lent for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.coordinator.express import MOST, Express
from actors.model.errors import BadValue, StorageTimeout, StorageUnavailable
from actors.model.ports import Claimed, ClaimOffer, Posted, Submitted
from actors.model.task import NewTask
from tests.unit.coordinator.test_dispatcher import Room, running, tasks

NOOP = NewTask(name="noop")


class Poster:
    """Assigns what was posted, in the order of the offer's turns."""

    def __init__(self) -> None:
        self.offers: list[ClaimOffer] = []
        self.fault: Exception | None = None
        self.seen: int | None = None
        self.during: Any = None

    async def post(self, new: Sequence[NewTask], offer: ClaimOffer) -> Posted:
        await trio.lowlevel.checkpoint()
        self.offers.append(offer)
        if self.during is not None:
            self.during()
        if self.fault is not None:
            raise self.fault
        ids = list(range(1, len(new) + 1))
        shares = [Claimed(0, tasks(ids, offer.lease_key))]
        return Posted(
            [Submitted(number, True) for number in ids], shares, len(ids) - 1 if self.seen is None else self.seen
        )


async def settled(room: Room) -> Express:
    """A dispatcher that has looked and found nothing due."""
    room.add("1")
    await wait_all_tasks_blocked()
    return Express(Poster(), room.dispatcher)  # type: ignore[arg-type]  # what it uses of the store


def poster(express: Express) -> Poster:
    found = express._store
    assert isinstance(found, Poster)
    return found


async def test_it_is_assigned_at_once(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        [link] = room.membership
        answers = await express.submit([NOOP])
        assert answers == [Submitted(1, True)]
        assert link.held == 1
        assert link.given == 1
        [offer] = poster(express).offers
        assert (offer.lanes, offer.slots) == ([1], [0])


async def test_room_is_held_while_the_database_works(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        [link] = room.membership
        held: list[int] = []
        poster(express).during = lambda: held.append(link.held)
        await express.submit([NOOP] * 3)
        assert held == [3]
        assert link.held == 3


@pytest.mark.parametrize("fault", [StorageTimeout("no answer"), StorageUnavailable("gone")])
async def test_room_comes_back_when_it_failed(mock_clock: MockClock, fault: Exception) -> None:
    async with running() as room:
        express = await settled(room)
        poster(express).fault = fault
        with pytest.raises(type(fault)):
            await express.submit([NOOP])
        [link] = room.membership
        assert link.held == 0


async def test_a_bad_value_goes_the_usual_way(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        poster(express).fault = BadValue("args", "no")
        assert await express.submit([NOOP]) is None


async def test_an_unknown_outcome_goes_the_usual_way_when_keys_make_it_safe(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        poster(express).fault = StorageTimeout("no answer")
        assert await express.submit([NewTask(name="noop", idempotency_key="k", request_hash=b"1")]) is None


@pytest.mark.parametrize(
    "new",
    [
        [NewTask(name="noop", delay=5.0)],
        [NewTask(name="noop", run_at=datetime(2030, 1, 1, tzinfo=UTC))],
        [NewTask(name="unknown")],
        [NOOP, NewTask(name="unknown")],
        [NOOP] * (MOST + 1),
        [NOOP] * 11,  # more than there is room for
    ],
)
async def test_what_does_not_fit_is_submitted_as_usual(mock_clock: MockClock, new: list[NewTask]) -> None:
    async with running() as room:
        express = await settled(room)
        assert await express.submit(new) is None
        assert poster(express).offers == []


async def test_nothing_overtakes_what_is_due_already(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        room.store.due = 25
        room.post(0)
        await wait_all_tasks_blocked()  # ten are assigned, and more are known to wait
        assert await express.submit([NOOP]) is None


async def test_more_that_was_seen_is_looked_for(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        poster(express).seen = 1
        room.store.claims.clear()
        await express.submit([NOOP])
        await wait_all_tasks_blocked()
        assert room.store.claims


async def test_a_paused_dispatcher_lends_nothing(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        room.dispatcher.paused = True
        assert await express.submit([NOOP]) is None


async def test_a_worker_that_has_just_gone_is_lent_nothing(mock_clock: MockClock) -> None:
    async with running() as room:
        express = await settled(room)
        [link] = room.membership
        room.membership.remove(link)
        other = room.add("2")
        assert await express.submit([NOOP]) is None
        room.post(0)
        await wait_all_tasks_blocked()
        assert await express.submit([NOOP]) is not None
        assert (link.held, other.link.held) == (0, 1)
