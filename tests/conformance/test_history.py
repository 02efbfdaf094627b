"""A renewal tells how far the database had written: never beyond what is acknowledged by it."""

from __future__ import annotations

from datetime import datetime

from actors.model.ports import Renewed
from tests.support.bench import LEASE, Bench


async def renewed(bench: Bench, session: int, epoch: int) -> Renewed:
    return await bench.dispatch.renew("c1", [(session, epoch, 0.0)], lease=LEASE, health={})


async def test_the_position_rises_with_what_is_written_and_the_rest_stays(bench: Bench) -> None:
    session = await bench.session()
    first = await renewed(bench, session.id, session.epoch)
    second = await renewed(bench, session.id, session.epoch)
    assert isinstance(first.server_started, datetime)
    assert first.server_started == second.server_started
    assert first.history is not None
    assert second.history is not None
    assert (first.history.system, first.history.timeline) == (second.history.system, second.history.timeline)
    assert first.history.timeline >= 1
    assert second.history.position > first.history.position
