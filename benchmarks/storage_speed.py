"""Speed of the store alone on this machine: `python -m benchmarks.storage_speed [submit|drain|growth] …`.

A throwaway PostgreSQL at the durable defaults of the embedded server (fsync on), the real store, no network and no
workers. `submit`: tasks a second in groups of 1,000 and 10,000. `drain`: 50,000 tasks are claimed and completed in
batches of 500; "alone" is one statement after the other, whose times add up to the cost of a task; "together" is
claiming and completing at once on two connections, as a coordinator does. `growth`: what a claim touches with a
million waiting tasks that nobody can run and a million finished ones beside it, against an empty table: pages by
EXPLAIN (ANALYZE, BUFFERS), and its rate (trees of a million entries are one level deeper, no more).
Compare the numbers of one run with each other, not those of two machines.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from actors.model.columns import Assignment, Outcomes, Verdict
from actors.model.task import NewTask
from actors.model.worker import HandlerInfo, Session, WorkerInfo
from actors.runtime.aio import open_loop
from storage.embedded import open_server
from storage.migrate import migrate
from storage.queries import sql
from storage.store import Store, open_store
from storage.url import parse_url
from tests.support.bench import Database

COUNT, BATCH, MILLION = 50_000, 500, 1_000_000
ARGS = json.dumps({"n": 1, "text": "a few words"})
RESULT = b'{"ok": true, "n": 12345}'


class Rig:
    """A store with one session, and raw SQL beside it."""

    def __init__(self, store: Store, database: Database, session: Session) -> None:
        self.store, self.database, self.session = store, database, session

    async def post(self, count: int, name: str = "noop", group: int = 10_000) -> float:
        """Seconds to submit so many."""
        began = time.perf_counter()
        for _ in range(0, count, group):
            await self.store.tasks.submit([NewTask(name=name, args=ARGS)] * group)
        return time.perf_counter() - began

    async def lane(self, name: str = "noop") -> int:
        return next(lane.id for lane in await self.store.dispatch.lanes() if lane.name == name)

    async def claim(self, lane: int, count: int = BATCH) -> Assignment | None:
        shares, _ = await self.store.dispatch.claim(
            lease_key=os.urandom(16),
            lanes=[lane],
            sessions=[(self.session.id, self.session.epoch)],
            slots=[0] * count,
            ack_window=60,
            claim_margin=2,
        )
        return shares[0].assignment if shares else None

    async def complete(self, assignment: Assignment) -> None:
        count = len(assignment)
        verdicts = await self.store.dispatch.complete(
            Outcomes(
                keys=[assignment.lease_key],
                key_index=[0] * count,
                ids=assignment.ids,
                attempts=assignment.attempts,
                kinds=[0] * count,
                sizes=[len(RESULT)] * count,
                bodies=RESULT * count,
            )
        )
        assert set(verdicts) == {Verdict.ACCEPTED}

    async def settle(self) -> None:
        await self.database.execute("VACUUM ANALYZE callboard_tasks")
        await self.database.execute("CHECKPOINT")


async def submit(rig: Rig) -> dict[str, Any]:
    rates = {}
    for group in (1_000, 10_000):
        rates[f"submitted_per_s_in_groups_of_{group}"] = round(COUNT / await rig.post(COUNT, group=group))
    return rates


async def drain(rig: Rig) -> dict[str, Any]:
    await rig.post(COUNT)
    await rig.settle()
    lane, claiming, completing, done = await rig.lane(), 0.0, 0.0, 0
    while True:
        began = time.perf_counter()
        assignment = await rig.claim(lane)
        claimed = time.perf_counter()
        if assignment is None:
            break
        await rig.complete(assignment)
        claiming += claimed - began
        completing += time.perf_counter() - claimed
        done += len(assignment)
    together = await drain_together(rig, lane)
    return {
        "claim_us_per_task": round(claiming / done * 1e6, 1),
        "complete_us_per_task": round(completing / done * 1e6, 1),
        "both_us_per_task": round((claiming + completing) / done * 1e6, 1),
        "tasks_per_s_alone": round(done / (claiming + completing)),
        "tasks_per_s_together": round(together),
    }


async def drain_together(rig: Rig, lane: int) -> float:
    """Tasks a second while one connection claims and another completes."""
    await rig.post(COUNT)
    await rig.settle()
    send, receive = trio.open_memory_channel[Assignment](4)  # as many claims as a few workers would hold

    async def claim_all() -> None:
        with send:
            while (assignment := await rig.claim(lane)) is not None:
                await send.send(assignment)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim_all)
        async for assignment in receive:
            await rig.complete(assignment)
    return COUNT / (time.perf_counter() - began)


async def growth(rig: Rig) -> dict[str, Any]:
    await rig.post(COUNT)
    lane = await rig.lane()
    await rig.settle()
    small = await pages(rig, lane), await claims_per_s(rig, lane), await pages_of_submission(rig, lane)
    await fill(rig)
    await rig.post(COUNT)
    await rig.settle()
    large = await pages(rig, lane), await claims_per_s(rig, lane), await pages_of_submission(rig, lane)
    return {
        "pages_of_a_claim": {"alone": small[0], "beside_two_million": large[0], "ratio": round(large[0] / small[0], 3)},
        "pages_of_a_submission": {
            "alone": small[2],
            "beside_two_million": large[2],
            "ratio": round(large[2] / small[2], 3),
        },
        "claims_per_s": {
            "alone": round(small[1], 1),
            "beside_two_million": round(large[1], 1),
            "ratio": round(large[1] / small[1], 3),
        },
    }


async def fill(rig: Rig) -> None:
    """A million waiting tasks of a handler that nobody has, a million finished ones of ours."""
    await rig.store.tasks.submit([NewTask(name="unknown")])
    unknown, lane = await rig.lane("unknown"), await rig.lane()
    insert = (
        "INSERT INTO callboard_tasks (lane_id, args, run_at{}) SELECT $1, $2::jsonb,"
        " clock_timestamp() - n * interval '1 ms'{} FROM generate_series(1, $3) n"
    )
    await rig.database.execute(insert.format("", ""), unknown, ARGS, MILLION)
    final = ", state, attempt, finished_at, started_at, assigned_at, session_id, lease_key, result"
    values = ", 'succeeded', 1, clock_timestamp(), clock_timestamp(), clock_timestamp(), 1, gen_random_uuid(), '1'"
    await rig.database.execute(insert.format(final, values), lane, ARGS, MILLION)


async def claims_per_s(rig: Rig, lane: int, rounds: int = 40) -> float:
    spent = 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        assignment = await rig.claim(lane)
        spent += time.perf_counter() - began
        assert assignment is not None
        await rig.complete(assignment)
    return rounds / spent


async def pages(rig: Rig, lane: int) -> int:
    """Pages that one claim touches, by EXPLAIN, with the settings of the dispatch path; undone again."""
    values = (
        f"ARRAY[{lane}], ARRAY[{rig.session.id}::bigint], ARRAY[1], array_fill(0, ARRAY[{BATCH}]), "
        "gen_random_uuid(), 60, 2, 300"
    )
    types = "int[], bigint[], int[], int[], uuid, float8, float8, float8"
    database = rig.database
    await database.execute("BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off;"
                           " SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;"
                           " SET LOCAL enable_mergejoin = off")  # fmt: skip
    await database.execute(f"PREPARE probe ({types}) AS {sql('claim')}")
    rows = await database.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) EXECUTE probe ({values})")
    await database.execute("ROLLBACK; DEALLOCATE probe")
    line = next(row[0] for row in rows if "Buffers:" in row[0])
    return sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", line))


async def pages_of_submission(rig: Rig, lane: int) -> int:
    """The same of the statement that stores as many tasks."""
    columns = [f"array_fill({value}, ARRAY[{BATCH}])" for value in (
        f"{lane}", "'{}'::text", "2::smallint", "NULL::timestamptz", "NULL::float8", "NULL::float8", "NULL::smallint",
        "NULL::text", "NULL::timestamptz", "false", "true", "'[]'::text", "'{}'::text", "NULL::bigint", "NULL::text",
        "NULL::text", "NULL::bytea",
    )]  # fmt: skip
    more = [f"array_fill(NULL::{kind}, ARRAY[{BATCH}])" for kind in ("bigint", "text")]
    values = ", ".join([*columns, "'bench'", "4", *more])
    types = (
        "int[], text[], smallint[], timestamptz[], float8[], float8[], smallint[], text[], timestamptz[], boolean[],"
        " boolean[], text[], text[], bigint[], text[], text[], bytea[], text, int, bigint[], text[]"
    )
    await rig.database.execute(f"BEGIN; PREPARE probe ({types}) AS {sql('submit')}")
    rows = await rig.database.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) EXECUTE probe ({values})")
    await rig.database.execute("ROLLBACK; DEALLOCATE probe")
    line = next(row[0] for row in rows if "Buffers:" in row[0])
    return sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", line))


PARTS: dict[str, Callable[[Rig], Awaitable[dict[str, Any]]]] = {"submit": submit, "drain": drain, "growth": growth}


async def measure(url: str, part: str) -> dict[str, Any]:
    """One part, in a schema of its own."""
    url = f"{url}&schema=bench_{part}"
    async with open_loop():
        await migrate(parse_url(url))
        database = Database(parse_url(url))
        await database.open()
        async with open_store(url) as store:
            await store.dispatch.declare([HandlerInfo(name="noop", timeout=60.0)])
            worker = WorkerInfo(id="w1", name="w1", slots=10_000, handlers=[HandlerInfo(name="noop")])
            session = await store.dispatch.open_session(worker, secret_hash=b"s", coordinator_id="c1", lease=86_400)
            result = await PARTS[part](Rig(store, database, session))
        database.close()
    return result


async def main(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="callboard-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        async with open_server(Path(folder)) as server:
            for part in parts:
                print(json.dumps({part: await measure(server.url, part)}), flush=True)


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(PARTS)
    if unknown:
        sys.exit(f"error: {sorted(unknown)[0]!r} is not one of {', '.join(PARTS)}")
    trio.run(main, sys.argv[1:] or list(PARTS))
