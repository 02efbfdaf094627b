"""Group C: what others do to the same server: they hold rows, snapshots and connections, and set it otherwise."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import trio

from tests.system.bench.load import Mix
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import killed_are_back, nobody_was_convicted

enter = partial(scenario, group="C", final_within=60.0)
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
READ_WHOLE = "SELECT coalesce(seq_tup_read, 0) FROM pg_stat_user_tables WHERE relid = 'callboard_tasks'::regclass"
DEAD = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'callboard_tasks'::regclass"
SHORT, BATCH = 50_000, 2_000  # tasks beside an old snapshot
OLD = 60.0  # seconds from which on health tells of one


async def released(stage: Stage) -> None:
    """What the bench itself held is let go."""
    await stage.memory.pop("held").aclose()
    stage.nemesis.off("postgres")


@enter("P35", "The table of tasks is locked for six seconds", heal=released, hold=6.0, no_repeats=True,
       check=nobody_was_convicted, shapes=("once", "repeated"))  # fmt: skip
async def p35(stage: Stage) -> None:
    stack = AsyncExitStack()
    database = await stack.enter_async_context(stage.system.database())
    fault = stage.nemesis.on("database", "postgres")
    await database.execute("BEGIN; LOCK TABLE callboard_tasks IN ACCESS EXCLUSIVE MODE")
    stage.memory["held"] = stack
    stage.nemesis.took(fault, "the lock is held")


@enter("P36", "A rival holds one due row for eight seconds; all others flow", heal=released, hold=8.0, no_repeats=True,
       check=nobody_was_convicted)  # fmt: skip
async def p36(stage: Stage) -> None:
    task = await stage.load.submit({"name": "nap", "args": {"seconds": 0.1}, "delay": 1}, "held", "held")
    stack = AsyncExitStack()
    database = await stack.enter_async_context(stage.system.database())
    fault = stage.nemesis.on("database", "postgres")
    await database.execute(f"BEGIN; SELECT FROM callboard_tasks WHERE id = {task} FOR UPDATE")
    stage.memory["held"] = stack
    stage.nemesis.took(fault, "the row is held")
    await trio.sleep(2.0)
    flowing = "SELECT count(*) FROM callboard_tasks WHERE finished_at > clock_timestamp() - interval '1 second'"
    assert await stage.system.scalar(flowing) > 3, "V19: one held row holds the others up"


@enter("P37", "Outcomes are written in the order that deadlocks with a rival", no_repeats=True, hold=0.0,
       layout=Layout(slots=16), mix=Mix(tasks=100, pace=8),
       heal=lambda stage: deadlocks_after(stage, None), check=nobody_was_convicted)  # fmt: skip
async def p37(stage: Stage) -> None:
    """A rival locks the first or the last of the rows that run; when a writer waits for it, all the others."""
    fault = stage.nemesis.on("database", "postgres")
    await deadlocks_after(stage, "200ms")
    async with stage.system.database() as database:
        await database.execute("SET deadlock_timeout = '20s'")  # of the two it is never the rival that gives way
        before, first = await database.value(DEADLOCKS), True
        with trio.move_on_after(40):
            while await database.value(DEADLOCKS) == before:
                tasks, first = await stage.load.crowd(24, delay=0.0, seconds=1.0), not first
                await trio.sleep(0.5)
                running = "SELECT id FROM callboard_tasks WHERE id = ANY ($1) AND state = 'running' ORDER BY id"
                ids = [row["id"] for row in await database.fetch(running, tasks)]
                if len(ids) < 2:
                    continue
                await database.execute(
                    f"BEGIN; SELECT FROM callboard_tasks WHERE id = {ids[0 if first else -1]} FOR UPDATE"
                )
                with trio.move_on_after(3):
                    while not await database.value(BLOCKED):
                        await trio.sleep(0.005)
                    await database.fetch("SELECT FROM callboard_tasks WHERE id = ANY ($1) FOR UPDATE", ids)
                await database.execute("ROLLBACK")
                await trio.sleep(1.0)  # counts become visible when their session is idle
        found = await database.value(DEADLOCKS) - before
    if found:
        stage.nemesis.took(fault, f"{found} deadlocks, and the rival did not give way")
    stage.nemesis.off("postgres")


async def deadlocks_after(stage: Stage, limit: str | None) -> None:
    """The server looks for deadlocks after so long; None: as it did before."""
    setting = f"SET deadlock_timeout = '{limit}'" if limit else "RESET deadlock_timeout"
    async with stage.system.database() as database:
        await database.execute(f"ALTER SYSTEM {setting}")
        await database.execute("SELECT pg_reload_conf()")


@enter("P38", "Idle sessions take every connection that the server has, for eight seconds", heal=released, hold=8.0,
       no_repeats=True, check=nobody_was_convicted)  # fmt: skip
async def p38(stage: Stage) -> None:
    stack = AsyncExitStack()
    stage.memory["held"] = stack
    fault = stage.nemesis.on("database", "postgres")
    count = 0
    try:
        for _ in range(200):
            await stack.enter_async_context(stage.system.database())
            count += 1
    except Exception as error:
        stage.nemesis.took(fault, f"after {count} connections: {type(error).__name__}")


@enter("P42", "The role's statement_timeout is 1 ms for ten seconds; sessions and a coordinator begin anew meanwhile",
       no_repeats=True, hold=8.0, heal=lambda stage: patient(stage), check=nobody_was_convicted)  # fmt: skip
async def p42(stage: Stage) -> None:
    system = stage.system
    fault = stage.nemesis.on("database", "postgres")
    async with system.database() as database:
        await database.execute("ALTER ROLE CURRENT_USER SET statement_timeout = '1ms'")
        ours = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'callboard %'"
        ended = await database.value(ours)
    async with system.database() as database:
        try:
            await database.execute("SELECT pg_sleep(0.1)")
        except Exception as error:
            stage.nemesis.took(fault, f"{ended} sessions were ended; a new one says: {error}")
    stage.memory["killed"] = ["c2"]
    await stage.nemesis.kill("c2")
    await killed_are_back(stage)


async def patient(stage: Stage) -> None:
    async with stage.system.database() as database:
        await database.execute("SET statement_timeout = 0")
        await database.execute("ALTER ROLE CURRENT_USER RESET statement_timeout")
    stage.nemesis.off("postgres")


@enter("P43", f"A session keeps a snapshot while {SHORT} tasks come and go: no table is read whole, and health tells",
       no_repeats=True, hold=0.0, layout=Layout(slots=16), final_within=120.0, mix=Mix(tasks=60),
       heal=released, check=nobody_was_convicted)  # fmt: skip
async def p43(stage: Stage) -> None:
    system = stage.system
    stack = AsyncExitStack()
    rival = await stack.enter_async_context(system.database())
    fault = stage.nemesis.on("database", "postgres")
    await rival.execute("SET application_name = 'the rival'; BEGIN; SELECT txid_current()")
    stage.memory["held"] = stack
    began = trio.current_time()
    async with system.database() as database:
        before = await database.value(READ_WHOLE)
        for _ in range(SHORT // BATCH):
            await stage.load.crowd(BATCH, delay=0.0)
        left = "SELECT count(*) FROM callboard_tasks WHERE finished_at IS NULL"
        while await database.value(left) > 500:
            await trio.sleep(1.0)
        dead = await database.value(DEAD)
        read = await database.value(READ_WHOLE) - before
    took = trio.current_time() - began
    await trio.sleep(max(0.0, OLD + 15 - took))
    health = (await system.cluster.http.get(str(system.cluster.http.base_url.copy_with(path="/healthz")))).json()
    found = health["checks"]["dead_rows"]
    assert (found["status"], "the rival" in found["detail"]) == ("degraded", True), f"V17: nobody is told: {found}"
    assert read < 50 * SHORT, f"V19: {read} rows were read by looking at the whole table"
    stage.nemesis.took(fault, f"{dead} dead rows; {SHORT} tasks in {took:.0f} s; {read} rows read in whole scans")
