"""T6, T8, T9: what the sweep takes back, from whom, at what price."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pytest

from actors.model.columns import Outcome, Verdict
from actors.model.ports import Swept
from actors.model.worker import Held, Session
from tests.support.bench import LEASE, Bench, ago

PAST = ago(1)


async def sweep(
    bench: Bench,
    *,
    judging: bool = True,
    coordinator: str = "c1",
    limit: int = 500,
    until: float | None = None,
    sent: Collection[bytes] = (),
    linked: Collection[int] | None = None,
) -> Swept:
    lease = LEASE if judging else None
    if linked is None:
        linked = [row["session_id"] for row in await bench.rows("workers")]
    return await bench.dispatch.sweep(limit, coordinator, lease=lease, until=until, sent=sent, linked=linked)


async def kill(bench: Bench, session: Session) -> None:
    assert await bench.dispatch.convict([(session.id, session.epoch)], "c1") == [session.id]


async def change(bench: Bench, held: Held, **columns: Any) -> None:
    await bench.change("tasks", {"id": held.task_id}, **columns)


async def facts(bench: Bench, held: Held) -> tuple[Any, ...]:
    row = await bench.task(held.task_id)
    return row["state"], row["tries"], row["crashes"], row["undelivered"]


@pytest.mark.parametrize("started", ["accepted", "running"])
async def test_a_lost_attempt_is_a_crash_and_due_at_once(bench: Bench, started: str) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await bench.dispatch.mark([held], [held] if started == "running" else [])
    await kill(bench, session)
    assert await sweep(bench, judging=False) == Swept(1, (), {})
    assert await facts(bench, held) == ("queued", 0, 1, 0)
    [attempt] = await bench.attempts(held.task_id)
    assert (attempt["outcome"], attempt["session_id"]) == ("lost", session.id)
    assert json.loads(attempt["error"])["type"] == "WorkerLost"
    assert json.loads(attempt["evidence"])["worker"] == "w1"
    other = await bench.claim(await bench.session("w2"))
    assert other is not None
    assert other.attempts == [2]
    assert await bench.end(held, Outcome.SUCCEEDED) is Verdict.FENCED


async def test_what_was_never_accepted_costs_nothing(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await kill(bench, session)
    await sweep(bench)
    assert await facts(bench, held) == ("queued", 0, 0, 1)
    assert (await bench.attempts(held.task_id))[0]["outcome"] == "undelivered"


async def test_a_closed_session_releases_without_penalty(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await bench.dispatch.mark([], [held])
    await bench.dispatch.close_session(session.id, session.epoch)
    assert (await sweep(bench, judging=False)).count == 1
    assert await facts(bench, held) == ("queued", 0, 0, 0)
    assert (await bench.attempts(held.task_id))[0]["outcome"] == "released"


async def test_a_lost_attempt_with_a_cancel_wish_is_cancelled(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await bench.dispatch.mark([held], [])
    await bench.tasks.cancel(held.task_id)
    await kill(bench, session)
    await sweep(bench)
    assert (await bench.task(held.task_id))["state"] == "cancelled"


async def test_a_lost_attempt_that_must_not_be_repeated_fails(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session, retry_on_crash=False)
    await bench.dispatch.mark([held], [])
    await kill(bench, session)
    await sweep(bench)
    row = await bench.task(held.task_id)
    assert (row["state"], json.loads(row["error"])["type"]) == ("failed", "WorkerLost")
    assert row["started_at"] == row["assigned_at"]


async def test_the_third_lost_worker_quarantines(bench: Bench) -> None:
    [task] = await bench.put(1)
    for number in (1, 2, 3):
        session = await bench.session(f"w{number}")
        await bench.idle_backoffs()
        assignment = await bench.claim(session)
        assert assignment is not None
        assert assignment.flags == [2 if number == 3 else 0]
        await bench.dispatch.mark([], [Held(task, number, assignment.lease_key)])
        await kill(bench, session)
        await sweep(bench)
    assert (await bench.task(task))["state"] == "quarantined"
    evidence = [json.loads(one["evidence"])["worker"] for one in await bench.attempts(task)]
    assert evidence == ["w1", "w2", "w3"]


async def test_an_expired_session_is_convicted_only_by_who_may_judge(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await bench.change("workers", lease_until=PAST)
    assert await sweep(bench, judging=False) == Swept(0, (), {})
    assert await sweep(bench, coordinator="another") == Swept(0, [session.id], {})
    assert (await sweep(bench)).count == 1
    assert await facts(bench, held) == ("queued", 0, 0, 1)


async def test_a_question_that_was_held_up_judges_nobody(bench: Bench) -> None:
    """A server that froze answers it when every lease has run out meanwhile; a clock that jumped shows the same."""
    expired, live = await bench.session(), await bench.session("w2")
    await bench.change("workers", {"session_id": expired.id}, lease_until=PAST)
    held = await bench.held(live)
    await change(bench, held, ack_by=PAST)
    now = (await bench.clock()).timestamp()
    assert await sweep(bench, until=now - 0.5) == Swept(0, (), {})
    assert await sweep(bench, until=now + 5) == Swept(1, [expired.id], {live.id: [held]})


async def test_a_live_session_keeps_what_it_accepted(bench: Bench) -> None:
    held = await bench.held()
    await bench.dispatch.mark([held], [])
    assert await sweep(bench) == Swept(0, (), {})


@pytest.mark.bad_input("GR26")
async def test_an_unacknowledged_assignment_goes_back_and_its_worker_is_told(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await change(bench, held, ack_by=PAST)
    assert await sweep(bench, judging=False) == Swept(0, (), {})
    assert await sweep(bench, coordinator="another") == Swept(0, (), {})
    assert await sweep(bench) == Swept(1, (), {session.id: [held]})
    assert await facts(bench, held) == ("queued", 0, 0, 1)


async def test_nothing_is_taken_from_a_session_that_has_just_resumed_and_is_not_linked_yet(bench: Bench) -> None:
    session, other = await bench.session(), await bench.session()
    held = await bench.held(session)
    await change(bench, held, ack_by=PAST)
    assert await sweep(bench, linked=[other.id]) == Swept(0, (), {})
    assert await sweep(bench, linked=[]) == Swept(0, (), {})
    assert await sweep(bench, linked=[session.id]) == Swept(1, (), {session.id: [held]})


async def test_an_exclusive_assignment_that_was_sent_is_never_taken_for_want_of_an_answer(bench: Bench) -> None:
    held = await bench.held(exclusive=True)
    await change(bench, held, ack_by=PAST)
    assert (await sweep(bench, sent=[b"0" * 16, held.lease_key])).count == 0


async def test_an_exclusive_assignment_that_was_never_sent_comes_back(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session, exclusive=True)
    assert (await sweep(bench)).count == 0
    await change(bench, held, ack_by=PAST)
    assert await sweep(bench, sent=[b"0" * 16]) == Swept(1, (), {session.id: [held]})
    assert await facts(bench, held) == ("queued", 0, 0, 1)


@pytest.mark.bad_input("GR26")
async def test_the_tenth_undelivered_assignment_waits_a_minute(bench: Bench) -> None:
    held = await bench.held(undelivered=9)
    await change(bench, held, ack_by=PAST)
    await sweep(bench)
    row = await bench.task(held.task_id)
    assert row["undelivered"] == 10
    assert 55 < await bench.seconds_until(row["run_at"]) <= 60


async def test_an_attempt_ten_seconds_past_its_time_is_timed_out(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session, timeout=1.0, max_tries=2)
    await bench.dispatch.mark([], [held])
    await change(bench, held, exec_until=ago(9))
    assert (await sweep(bench)).count == 0
    await change(bench, held, exec_until=ago(11))
    assert await sweep(bench) == Swept(1, (), {session.id: [held]})
    assert await facts(bench, held) == ("queued", 1, 0, 0)
    await bench.idle_backoffs()
    again = await bench.claim(session)
    assert again is not None
    last = Held(held.task_id, 2, again.lease_key)
    await bench.dispatch.mark([], [last])
    await change(bench, last, exec_until=ago(11))
    await sweep(bench)
    row = await bench.task(held.task_id)
    assert (row["state"], json.loads(row["error"])["type"]) == ("failed", "TimedOut")


async def test_a_lease_that_lies_too_far_ahead_is_clamped(bench: Bench) -> None:
    await bench.session(lease=3600)
    await sweep(bench, judging=False)
    [row] = await bench.rows("workers")
    assert await bench.seconds_until(row["lease_until"]) > 3500
    await sweep(bench)
    [row] = await bench.rows("workers")
    assert LEASE - 1 < await bench.seconds_until(row["lease_until"]) <= LEASE


async def test_a_sweep_skips_a_row_whose_outcome_is_on_its_way(postgres: Bench) -> None:
    session = await postgres.session()
    held = await postgres.held(session)
    await kill(postgres, session)
    await postgres.database.execute("BEGIN")
    await postgres.database.execute("SELECT FROM callboard_tasks FOR UPDATE")
    assert (await sweep(postgres)).count == 0
    await postgres.database.execute("COMMIT")
    assert await postgres.end(held, Outcome.SUCCEEDED) is Verdict.ACCEPTED
    assert (await sweep(postgres)).count == 0


async def test_a_sweep_goes_in_parts(bench: Bench) -> None:
    session = await bench.session()
    await bench.put(25)
    assert await bench.claim(session, 25) is not None
    await kill(bench, session)
    assert [(await sweep(bench, limit=10)).count for _ in range(4)] == [10, 10, 5, 0]


async def test_tasks_of_a_session_that_ended_long_ago_still_come_back(bench: Bench) -> None:
    session = await bench.session()
    await bench.held(session)
    await kill(bench, session)
    await bench.change("workers", ended_at=ago(90 * 86_400))
    await bench.tasks.prune(100)  # holds something: neither forgotten nor deleted
    assert (await sweep(bench)).count == 1
    await bench.tasks.prune(100)
    await bench.tasks.prune(100)
    assert len(await bench.rows("workers")) == 0
