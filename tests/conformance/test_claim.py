"""T1: what a claim takes, in which order, for whom."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import trio

from actors.model.columns import EXCLUSIVE, SOLO, split_blob
from actors.model.ports import Claimed
from storage.queries import sql
from tests.support.bench import NOW, Bench, ago, later


async def test_a_claim_raises_the_attempt_and_draws_one_key(bench: Bench) -> None:
    ids = await bench.put(3)
    session, key = await bench.session(), os.urandom(16)
    assignment = await bench.claim(session, key=key)
    assert assignment is not None
    assert (assignment.ids, assignment.attempts, assignment.lease_key) == (ids, [1, 1, 1], key)
    assert [assignment.names[index] for index in assignment.name_index] == ["demo"] * 3
    row = await bench.task(ids[0])
    assert (row["state"], row["attempt"], row["lease_key"]) == ("assigned", 1, key)
    assert row["session_id"] == session.id
    assert row["ack_by"] is not None
    assert row["assigned_at"] is not None


async def test_payloads_travel_as_one_blob_in_the_same_order(bench: Bench) -> None:
    await bench.put(1, args='{"text": "ümlaut 🙂"}')
    await bench.put(1, args='{"n": 2}', priority=1)
    assignment = await bench.claim(await bench.session())
    assert assignment is not None
    payloads = [json.loads(one) for one in split_blob(assignment.sizes, assignment.payloads)]
    assert payloads == [{"n": 2}, {"text": "ümlaut 🙂"}]


async def test_the_order_is_priority_then_time_then_id(bench: Bench) -> None:
    late = await bench.put(1)
    early = await bench.put(1)
    await bench.change("tasks", {"id": early[0]}, run_at=ago(250))
    urgent = await bench.put(1, priority=1)
    background = await bench.put(1, priority=4)
    assignment = await bench.claim(await bench.session())
    assert assignment is not None
    assert assignment.ids == urgent + early + late + background


async def test_who_has_waited_long_comes_before_what_is_new_and_better(bench: Bench) -> None:
    background = await bench.put(1, priority=4, run_at=ago(3 * 300 + 60))
    low = await bench.put(1, priority=3, run_at=ago(300))
    urgent = await bench.put(1, priority=1)
    normal = await bench.put(1, run_at=ago(30))
    assignment = await bench.claim(await bench.session())
    assert assignment is not None
    assert assignment.ids == background + urgent + normal + low


async def test_one_turn_takes_the_first_in_order(bench: Bench) -> None:
    await bench.put(1, priority=4)
    urgent = await bench.put(1, priority=1)
    assignment = await bench.claim(await bench.session(), 1)
    assert assignment is not None
    assert assignment.ids == urgent


@pytest.mark.parametrize(
    "column",
    [
        {"expires_at": ago(1)},
        {"state": "cancelled", "finished_at": NOW},
        {"state": "blocked"},
    ],
)
async def test_what_may_not_start_is_left_alone(bench: Bench, column: dict[str, Any]) -> None:
    await bench.put(1, **column)
    assert await bench.claim(await bench.session()) is None


async def test_the_future_and_other_lanes_are_left_alone(bench: Bench) -> None:
    await bench.put(1, name="other")
    ids = await bench.put(1)
    await bench.change("tasks", {"id": ids[0]}, run_at=later(3600))
    assert await bench.claim(await bench.session()) is None


@pytest.mark.parametrize(
    "change",
    [
        {"paused": True},
        {"drain_requested": True},
        {"state": "draining"},
        {"state": "dead", "ended_at": NOW},
        {"epoch": 2},
        {"lease_until": later(1)},
    ],
)
async def test_a_session_that_may_not_get_work_gets_none(bench: Bench, change: dict[str, Any]) -> None:
    ids = await bench.put(1)
    session = await bench.session()
    await bench.change("workers", **change)
    assert await bench.claim(session) is None
    assert (await bench.task(ids[0]))["attempt"] == 0


async def test_slots_are_filled_in_the_order_given(bench: Bench) -> None:
    ids = await bench.put(5)
    one, two, gone = await bench.session("a"), await bench.session("b"), await bench.session("c")
    await bench.change("workers", {"worker": "c"}, paused=True)
    shares, seen = await bench.dispatch.claim(
        lease_key=os.urandom(16),
        lanes=[await bench.lane()],
        sessions=[(one.id, 1), (gone.id, 1), (two.id, 1)],
        slots=[0, 1, 2, 0, 1, 2],
        ack_window=5,
        claim_margin=2,
    )
    given = {share.slot: share.assignment.ids for share in shares}
    assert given == {0: [ids[0], ids[2]], 2: [ids[1], ids[3]]}
    assert seen >= 4


async def test_timeouts_come_from_the_task_then_the_handler(bench: Bench) -> None:
    await bench.handler(timeout=30.0)
    await bench.put(1)
    await bench.put(1, timeout=2.5)
    assignment = await bench.claim(await bench.session())
    assert assignment is not None
    assert assignment.timeouts == [30_000, 2_500]


async def test_without_a_timeout_it_is_zero(bench: Bench) -> None:
    await bench.put(1)
    assignment = await bench.claim(await bench.session())
    assert assignment is not None
    assert assignment.timeouts == [0]


async def test_an_absurd_timeout_does_not_stop_the_claim(bench: Bench) -> None:
    ids = await bench.put(1, timeout=1e12)
    assignment = await bench.claim(await bench.session())
    assert assignment is not None
    assert assignment.ids == ids
    assert 0 < assignment.timeouts[0] < 2**31


async def test_flags_tell_exclusive_and_solo(bench: Bench) -> None:
    await bench.put(1, exclusive=True)
    await bench.put(1, crashes=2)
    await bench.put(1)
    assignment = await bench.claim(await bench.session())
    assert assignment is not None
    assert assignment.flags == [EXCLUSIVE, SOLO, 0]


async def test_concurrent_claims_never_share_a_row(bench: Bench) -> None:
    ids = await bench.put(200)
    sessions = [await bench.session(f"w{number}") for number in range(4)]
    got: list[int] = []
    lane = await bench.lane()

    async def take(index: int) -> None:
        while True:
            session = sessions[index]
            shares, seen = await bench.dispatch.claim(
                lease_key=os.urandom(16), lanes=[lane], sessions=[(session.id, 1)], slots=[0] * 7, ack_window=5,
                claim_margin=2,
            )  # fmt: skip
            got.extend(task for share in shares for task in share.assignment.ids)
            if not shares and seen == 0:
                return

    async with trio.open_nursery() as nursery:
        for index in range(4):
            nursery.start_soon(take, index)
    assert sorted(got) == ids
    assert {row["attempt"] for row in await bench.rows("tasks")} == {1}


async def test_a_row_that_went_to_retry_meanwhile_is_not_taken_early(postgres: Bench) -> None:
    """The candidate was seen due; before it is locked somebody else ran it and it waits for its back-off."""
    [task] = await postgres.put(1)
    session, other = await postgres.session("a"), postgres.database
    results: list[tuple[list[Claimed], int]] = []
    await other.execute("BEGIN")
    await other.execute("UPDATE callboard_tasks SET run_at = clock_timestamp() + interval '1 h' WHERE id = $1", task)
    lane = await postgres.lane()
    async with trio.open_nursery() as nursery:

        async def claim() -> None:
            results.append(
                await postgres.dispatch.claim(
                    lease_key=os.urandom(16), lanes=[lane], sessions=[(session.id, 1)], slots=[0], ack_window=5,
                    claim_margin=2,
                )
            )  # fmt: skip

        nursery.start_soon(claim)
        await trio.sleep(0.2)
        await other.execute("COMMIT")
    assert results[0][0] == []


async def test_claimed_tells_what_an_earlier_claim_got(bench: Bench) -> None:
    ids = await bench.put(3)
    session, key = await bench.session(), os.urandom(16)
    first = await bench.claim(session, key=key)
    again = await bench.dispatch.claimed(key, [(session.id, session.epoch)])
    assert again == [Claimed(0, first)]  # type: ignore[arg-type]
    assert first is not None
    assert first.ids == ids
    assert await bench.dispatch.claimed(os.urandom(16), [(session.id, session.epoch)]) == []


async def test_claimed_waits_until_the_claim_is_over(postgres: Bench) -> None:
    """Its lock is the claim's: the first transaction may still commit what it took."""
    session, key = await postgres.session(), os.urandom(16)
    [task] = await postgres.put(1)
    lane, other = await postgres.lane(), postgres.database
    values = f"ARRAY[{lane}], ARRAY[{session.id}::bigint], ARRAY[1], ARRAY[0], '{key.hex()}', 5, 2, 300"
    types = "int[], bigint[], int[], int[], uuid, float8, float8, float8"
    await other.execute(f"BEGIN; PREPARE claim ({types}) AS {sql('claim')}; EXECUTE claim ({values})")
    got: list[Claimed] = []

    async def ask() -> None:
        got.extend(await postgres.dispatch.claimed(key, [(session.id, session.epoch)]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.1)
        assert got == []
        await other.execute("COMMIT")
    assert [share.assignment.ids for share in got] == [[task]]


async def test_without_a_timeout_the_setting_holds(bench: Bench) -> None:
    await bench.handler("timed", timeout=30.0)
    async with bench.with_default_timeout(7.5) as patient:
        held = await patient.held()
        await bench.put(1, timeout=0.0001)
        await bench.put(1, name="timed")
        other = await patient.claim(await bench.session("w2"), names=("demo", "timed"))
        assert other is not None
        assert other.timeouts == [1, 30_000]
        await patient.dispatch.mark([], [held])
        again = await patient.dispatch.claimed(held.lease_key, [((await bench.task(held.task_id))["session_id"], 1)])
    assert again[0].assignment.timeouts == [7_500]
    row = await bench.task(held.task_id)
    assert 7 < (row["exec_until"] - row["started_at"]).total_seconds() < 8


async def test_a_new_lane_is_known_at_once(bench: Bench) -> None:
    await bench.dispatch.lanes()
    await bench.put(1, name="fresh")
    assignment = await bench.claim(await bench.session(), names=("fresh",))
    assert assignment is not None
    assert assignment.names == ["fresh"]


async def test_the_queue_of_a_lane_follows_the_declaration(bench: Bench) -> None:
    await bench.lane("demo")
    await bench.lane("demo", "given")
    assert {lane.queue for lane in await bench.dispatch.lanes()} == {"default", "given"}
    await bench.handler(queue="images")
    assert {lane.queue for lane in await bench.dispatch.lanes()} == {"images", "given"}
