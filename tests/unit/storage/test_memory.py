"""What only the store in memory promises: the caller's clock, equal answers to equal calls, and an account of all."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.model.columns import Outcome, Verdict
from actors.model.errors import BadValue
from actors.model.ports import ClaimOffer
from actors.model.task import NewTask
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo
from storage.memory.store import Memory
from tests.support.bench import outcomes

KEY = b"k" * 16
AUDIT_COLUMNS = {
    "id", "txid", "at", "table", "key", "old_state", "new_state", "old_attempt", "attempt", "lease_key", "session",
    "epoch", "tries", "crashes", "undelivered", "cancel", "result_hash", "run_at", "actor",
}  # fmt: skip


async def a_session(memory: Memory, worker: str = "w1") -> Session:
    info = WorkerInfo(id=worker, name=worker, slots=4, handlers=[HandlerInfo(name="demo")])
    return await memory.dispatch.open_session(info, secret_hash=b"s", coordinator_id="c1", lease=12.0)


async def claim(memory: Memory, session: Session, count: int = 1, key: bytes = KEY) -> list[Held]:
    lanes = [lane.id for lane in await memory.dispatch.lanes()]
    shares, _ = await memory.dispatch.claim(
        lease_key=key, lanes=lanes, sessions=[(session.id, session.epoch)], slots=[0] * count, ack_window=5.0,
        claim_margin=2.0,
    )  # fmt: skip
    columns = [(share.assignment.ids, share.assignment.attempts) for share in shares]
    return [Held(task, n, key) for ids, attempts in columns for task, n in zip(ids, attempts, strict=True)]


async def a_life(memory: Memory) -> list[Any]:
    """One task that fails and then succeeds, after its back-off."""
    session = await a_session(memory)
    answers: list[Any] = [await memory.tasks.submit([NewTask(name="demo")])]
    [held] = await claim(memory, session)
    answers.append(await memory.dispatch.complete(outcomes([held], Outcome.FAILED)))
    waits = await memory.tasks.get(held.task_id)
    assert waits is not None
    await trio.sleep((waits.run_at - waits.now).total_seconds() + 0.001)
    [again] = await claim(memory, session, key=b"l" * 16)
    answers.append(await memory.dispatch.complete(outcomes([again], Outcome.SUCCEEDED, {"n": 1})))
    answers.append(await memory.tasks.get(held.task_id))
    return answers


def run_once() -> tuple[list[Any], list[dict[str, Any]]]:
    async def main() -> tuple[list[Any], list[dict[str, Any]]]:
        memory = Memory(lambda: 1e9 + trio.current_time() - began)
        return await a_life(memory), [row.as_json() for row in memory.audit]

    clock = MockClock(autojump_threshold=0)
    began = clock.current_time()
    return trio.run(main, clock=clock)


def test_equal_calls_have_equal_answers() -> None:
    assert run_once() == run_once()


async def test_time_is_what_the_clock_says() -> None:
    now = 1e9
    memory = Memory(lambda: now)
    session = await a_session(memory)
    await memory.tasks.submit([NewTask(name="demo", delay=100.0)])
    assert await claim(memory, session) == []
    now += 9.9
    assert len((await memory.dispatch.renew("c1", [(session.id, 1, 0.0)], lease=200.0, health={})).sessions) == 1
    now += 90.1
    held = await claim(memory, session)
    await memory.dispatch.mark(held, [])
    now += 300.0
    assert (await memory.dispatch.sweep(10, "c1", lease=12.0)).convicted == [session.id]
    assert (await memory.dispatch.sweep(10, "c1", lease=12.0)).count == 1


async def test_a_restart_keeps_the_data_and_is_noticed() -> None:
    now = 1e9
    memory = Memory(lambda: now)
    await memory.tasks.submit([NewTask(name="demo")])
    before = await memory.dispatch.renew("c1", [], lease=12.0, health={})
    now += 5
    memory.restart()
    after = await memory.dispatch.renew("c1", [], lease=12.0, health={})
    assert (after.server_started - before.server_started).total_seconds() == 5
    assert await memory.tasks.get(1) is not None
    assert not memory.all_final()


async def test_every_change_of_state_is_written_down_in_order(autojump_clock: MockClock) -> None:
    who = "c1"
    memory = Memory(lambda: 1e9 + trio.current_time(), actor=lambda: who)
    await a_life(memory)
    rows = [row.as_json() for row in memory.audit]
    assert all(set(row) == AUDIT_COLUMNS for row in rows)
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["actor"] for row in rows} == {"c1"}
    tasks = [row for row in rows if row["table"] == "tasks"]
    moves = [(row["old_state"], row["new_state"], row["old_attempt"], row["attempt"]) for row in tasks]
    assert moves == [
        (None, "queued", None, 0),
        ("queued", "assigned", 0, 1),
        ("assigned", "queued", 1, 1),
        ("queued", "assigned", 1, 2),
        ("assigned", "succeeded", 2, 2),
    ]
    assert [row["tries"] for row in tasks] == [0, 0, 1, 1, 1]
    assert [row["lease_key"] for row in tasks] == [None, KEY.hex(), KEY.hex(), (b"l" * 16).hex(), (b"l" * 16).hex()]
    assert tasks[-1]["result_hash"] is not None
    assert rows == sorted(rows, key=lambda row: (row["at"], row["txid"]))
    assert memory.all_final()


async def test_a_call_that_is_cancelled_before_it_began_does_nothing() -> None:
    memory = Memory(lambda: 1e9)
    with trio.CancelScope() as scope:
        scope.cancel()
        await memory.tasks.submit([NewTask(name="demo")])
    assert scope.cancelled_caught
    assert memory.tables.tasks == {}
    assert list(memory.audit) == []


async def test_two_that_report_one_attempt_at_once_are_told_apart() -> None:
    memory = Memory(lambda: 1e9)
    session = await a_session(memory)
    await memory.tasks.submit([NewTask(name="demo")])
    [held] = await claim(memory, session)
    verdicts: list[Verdict] = []

    async def report() -> None:
        verdicts.extend(await memory.dispatch.complete(outcomes([held], Outcome.SUCCEEDED)))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(report)
    assert sorted(verdicts) == [Verdict.ACCEPTED, Verdict.ACCEPTED_BEFORE, Verdict.ACCEPTED_BEFORE]


async def test_a_group_that_can_t_be_stored_with_its_claim_leaves_nothing() -> None:
    memory = Memory(lambda: 1e9)
    session = await a_session(memory)
    offer = ClaimOffer(KEY, [1], [(session.id, 1)], [0], 5.0, 2.0)
    with pytest.raises(BadValue):
        await memory.dispatch.post([NewTask(name="demo"), NewTask(name="demo", priority=9)], offer)
    assert memory.tables.tasks == {}
    assert memory.all_final()


async def test_hints_wake_who_subscribed_and_coalesce() -> None:
    memory = Memory(lambda: 1e9)
    due, final = memory.wakeups.subscribe("due"), memory.wakeups.subscribe("final")
    for _ in range(3):
        await memory.tasks.submit([NewTask(name="demo")])
    due.receive_nowait()
    with pytest.raises(trio.WouldBlock):
        due.receive_nowait()
    await memory.tasks.submit([NewTask(name="demo", delay=50.0)])
    with pytest.raises(trio.WouldBlock):
        due.receive_nowait()
    await memory.tasks.cancel(1)
    final.receive_nowait()
