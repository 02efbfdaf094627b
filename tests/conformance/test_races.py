"""Everything at once, over several connections and two stores: what must hold, holds."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from actors.model.columns import Outcome, Verdict
from actors.model.errors import Conflict
from actors.model.ports import DispatchStore, TaskStore
from actors.model.worker import Held, Session
from storage.store import open_store
from tests.support.bench import LEASE, Bench, outcomes

TASKS, ROUNDS = 12, 30
FINAL = {"succeeded", "failed", "cancelled", "quarantined", "expired"}


@pytest.fixture
def bench(postgres: Bench) -> Bench:
    """Several connections and two stores: only PostgreSQL has races."""
    return postgres


@dataclass
class Run:
    """One random history; the facts that it may not contradict are checked on the way and at the end."""

    bench: Bench
    random: random.Random
    lane: int
    sessions: list[Session] = field(default_factory=list)
    out: list[Held] = field(default_factory=list)  # every attempt that anybody ever got
    accepted: Counter[tuple[int, int, bytes]] = field(default_factory=Counter)
    final: dict[int, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)

    async def claim(self, store: DispatchStore) -> None:
        session = self.random.choice(self.sessions)
        shares, _ = await store.claim(
            lease_key=os.urandom(16), lanes=[self.lane], sessions=[(session.id, session.epoch)],
            slots=[0] * self.random.randint(1, 4), ack_window=self.random.choice([0.0, 5.0]), claim_margin=2.0,
        )  # fmt: skip
        for share in shares:
            one = share.assignment
            self.out += [
                Held(task, attempt, one.lease_key) for task, attempt in zip(one.ids, one.attempts, strict=True)
            ]

    async def complete(self, store: DispatchStore) -> None:
        if not self.out:
            return
        chosen = self.random.choices(self.out, k=self.random.randint(1, 5))
        kind = self.random.choice(list(Outcome))
        verdicts = await store.complete(outcomes(chosen, kind, {"after": 0, "n": self.random.randint(0, 2)}))
        for held, verdict in zip(chosen, verdicts, strict=True):
            if verdict is Verdict.ACCEPTED:
                self.accepted[held.task_id, held.attempt, held.lease_key] += 1

    async def sweep(self, store: DispatchStore) -> None:
        if self.random.random() < 0.3:
            victim = self.random.choice(self.sessions)
            await store.convict([(victim.id, victim.epoch)], "c1")
            self.sessions.append(await self.bench.session(f"w{len(self.sessions)}"))
        linked = [one.id for one in self.sessions]
        await store.sweep(self.random.choice([3, 500]), "c1", lease=LEASE, linked=linked)

    async def mark(self, store: DispatchStore) -> None:
        some = self.random.sample(self.out, min(3, len(self.out)))
        await store.mark(some[:1], some[1:])

    async def cancel(self, store: TaskStore) -> None:
        if self.out and self.random.random() < 0.3:
            try:
                await store.cancel(self.random.choice(self.out).task_id)
            except Conflict:
                pass

    async def look(self) -> None:
        """Attempts never fall, final rows never change."""
        for row in await self.bench.database.fetch("SELECT * FROM callboard_tasks"):
            seen = dict(row)
            assert seen["attempt"] >= self.attempts.get(seen["id"], 0)
            self.attempts[seen["id"]] = seen["attempt"]
            assert self.final.setdefault(seen["id"], seen) == seen if seen["state"] in FINAL else True


@pytest.mark.parametrize("seed", range(8))
async def test_one_outcome_is_accepted_of_each_attempt(bench: Bench, database_url: str, seed: int) -> None:
    run = Run(bench, random.Random(seed), await bench.lane())
    await bench.put(TASKS, max_tries=4)
    run.sessions = [await bench.session(f"w{number}") for number in range(3)]
    async with open_store(database_url) as other:
        stores = [(bench.dispatch, bench.tasks), (other.dispatch, other.tasks)]

        async def actor(number: int) -> None:
            dispatch, tasks = stores[number % 2]
            for _ in range(ROUNDS):
                step = run.random.choices(["claim", "complete", "sweep", "mark", "cancel"], [4, 6, 2, 2, 1])[0]
                await getattr(run, step)(tasks if step == "cancel" else dispatch)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(actor, number)
                for _ in range(6):
                    await run.look()
                    await trio.sleep(0.02)
            await run.look()
    assert all(count == 1 for count in run.accepted.values())
    await check_books(run)


async def check_books(run: Run) -> None:
    """The table's own account agrees with what was answered, and every attempt has exactly one end."""
    rows = {row["id"]: row for row in await run.bench.database.fetch("SELECT * FROM callboard_tasks")}
    ends = await run.bench.database.fetch("SELECT * FROM callboard_attempts WHERE accepted")
    ended = Counter((end["task_id"], end["attempt"]) for end in ends)
    assert all(count == 1 for count in ended.values())
    by_worker = {
        (end["task_id"], end["attempt"], end["lease_key"].bytes)
        for end in ends
        if end["outcome"] != "lost" and end["outcome_hash"] is not None
    }
    by_worker |= {
        (row["id"], row["attempt"], row["lease_key"].bytes) for row in rows.values() if row["state"] == "succeeded"
    }
    assert by_worker == set(run.accepted)
    for task, row in rows.items():
        finished = {attempt for number, attempt in ended if number == task}
        open_or_good = {row["attempt"]} if row["state"] in ("assigned", "running", "succeeded") else set()
        assert finished | open_or_good == set(range(1, row["attempt"] + 1))
        assert not finished & open_or_good
        counts = Counter(end["outcome"] for end in ends if end["task_id"] == task)
        assert row["tries"] == counts["failed"] + counts["timed_out"]
        assert row["crashes"] == counts["crashed"] + counts["lost"]
        assert row["undelivered"] == counts["refused"] + counts["undelivered"]
        assert row["snoozes"] == counts["snoozed"]


async def test_the_same_outcome_from_two_sides_is_accepted_once(bench: Bench, database_url: str) -> None:
    """A worker that sends again through another coordinator while the first commit is on its way."""
    async with open_store(database_url) as other:
        for kind in Outcome:
            held = await bench.held(await bench.session(f"w{kind}"))
            verdicts: list[Verdict] = []

            async def send(store: DispatchStore, one: Held, what: Outcome, into: list[Verdict]) -> None:
                into.extend(await store.complete(outcomes([one], what)))

            async with trio.open_nursery() as nursery:
                for store in (bench.dispatch, other.dispatch, bench.dispatch):
                    nursery.start_soon(send, store, held, kind, verdicts)
            assert Counter(verdicts) == {Verdict.ACCEPTED: 1, Verdict.ACCEPTED_BEFORE: 2}
            await bench.database.execute("DELETE FROM callboard_tasks")


async def test_batches_in_opposite_order_never_deadlock(bench: Bench, database_url: str) -> None:
    await bench.put(400)
    assignment = await bench.claim(await bench.session(), 400)
    assert assignment is not None
    held = [Held(task, 1, assignment.lease_key) for task in assignment.ids]
    async with open_store(database_url) as other:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.dispatch.complete, outcomes(held, Outcome.SUCCEEDED))
                nursery.start_soon(other.dispatch.complete, outcomes(held[::-1], Outcome.FAILED))
                nursery.start_soon(bench.dispatch.mark, held[::-1], held)
    log = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await bench.database.value(log) == 0
