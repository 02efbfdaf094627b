"""A submission that carries a claim along: stored and assigned in one transaction, or neither."""

from __future__ import annotations

import os
from typing import Any

import pytest

from actors.model.columns import Outcome, Verdict
from actors.model.errors import BadValue
from actors.model.ports import ClaimOffer, Submitted
from actors.model.task import NewTask
from actors.model.worker import Held, Session
from tests.support.bench import Bench


async def offer(bench: Bench, session: Session, count: int = 1, **changes: Any) -> ClaimOffer:
    given: dict[str, Any] = {
        "lease_key": os.urandom(16),
        "lanes": [await bench.lane()],
        "sessions": [(session.id, session.epoch)],
        "slots": [0] * count,
        "ack_window": 5.0,
        "claim_margin": 2.0,
    }
    return ClaimOffer(**{**given, **changes})


async def test_it_is_stored_assigned_and_told_of(bench: Bench) -> None:
    session = await bench.session()
    given = await offer(bench, session, 2)
    posted = await bench.dispatch.post([NewTask(name="demo", args='{"n": 1}'), NewTask(name="demo")], given)
    ids = [answer.id for answer in posted.answers if isinstance(answer, Submitted)]
    [share] = posted.shares
    assert share.assignment.ids == ids
    assert (share.assignment.attempts, share.assignment.lease_key) == ([1, 1], given.lease_key)
    assert share.assignment.payloads == b'{"n": 1}{}'
    rows = [await bench.task(task) for task in ids]
    assert [(row["state"], row["attempt"], row["session_id"]) for row in rows] == [("assigned", 1, session.id)] * 2
    held = Held(ids[0], 1, given.lease_key)
    assert await bench.end(held, Outcome.SUCCEEDED) is Verdict.ACCEPTED


async def test_what_waits_already_comes_first(bench: Bench) -> None:
    [early] = await bench.put(1)
    session = await bench.session()
    posted = await bench.dispatch.post([NewTask(name="demo")], await offer(bench, session))
    assert posted.shares[0].assignment.ids == [early]
    assert posted.seen == 1
    [answer] = posted.answers
    assert isinstance(answer, Submitted)
    assert (await bench.task(answer.id))["state"] == "queued"


@pytest.mark.parametrize("change", [{"paused": True}, {"drain_requested": True}, {"epoch": 2}, {"state": "draining"}])
async def test_a_session_that_may_not_get_work_gets_none_and_tasks_wait(bench: Bench, change: dict[str, Any]) -> None:
    session = await bench.session()
    await bench.change("workers", **change)
    posted = await bench.dispatch.post([NewTask(name="demo")], await offer(bench, session))
    assert posted.shares == []
    [answer] = posted.answers
    assert isinstance(answer, Submitted)
    assert (await bench.task(answer.id))["state"] == "queued"


async def test_a_repeat_by_key_assigns_nothing_twice(bench: Bench) -> None:
    session = await bench.session()
    new = NewTask(name="demo", idempotency_key="k", request_hash=b"1")
    first = await bench.dispatch.post([new], await offer(bench, session))
    again = await bench.dispatch.post([new], await offer(bench, session))
    assert len(first.shares) == 1
    assert again.shares == []
    [one], [other] = first.answers, again.answers
    assert isinstance(one, Submitted)
    assert isinstance(other, Submitted)
    assert (one.id, one.created, other.created) == (other.id, True, False)


async def test_one_that_can_t_be_stored_leaves_nothing_behind(bench: Bench) -> None:
    session = await bench.session()
    bad = NewTask(name="demo", args='{"text": "\\u0000"}')
    with pytest.raises(BadValue):
        await bench.dispatch.post([NewTask(name="demo"), bad], await offer(bench, session, 2))
    assert len(await bench.rows("tasks")) == 0
