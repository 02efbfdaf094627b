"""Group C: PostgreSQL stops, crashes, loses answers, is full, locked or read-only."""

from __future__ import annotations

import os
import signal
from functools import partial

import psutil
import trio

from tests.system.bench import disks
from tests.system.bench.disks import SmallDisk
from tests.system.bench.load import Mix
from tests.system.bench.scenario import Stage, Step, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import nobody_was_convicted

enter = partial(scenario, group="C", final_within=60.0)
SMALL = Layout(workers=2)
WRITES = ("submit", "claim", "renew", "succeed", "settle", "mark_accepted", "cancel", "sign_in")
POOLS = ("callboard control", "callboard work", "callboard api", "callboard listener")


async def started_again(stage: Stage) -> None:
    if stage.system.server.process is None:
        await stage.nemesis.start_database()


@enter("P29", "PostgreSQL crashes, and is started again five seconds later", heal=started_again, hold=5.0,
       no_repeats=True, shapes=("once", "repeated"), check=nobody_was_convicted)  # fmt: skip
async def p29(stage: Stage) -> None:
    await stage.nemesis.stop_database(signal.SIGQUIT)


@enter("P30", "PostgreSQL is restarted again and again under load", no_repeats=True, shapes=("repeated",), repeats=6,
       hold=0.0, calm=3.0, check=nobody_was_convicted, mix=Mix(tasks=400))  # fmt: skip
async def p30(stage: Stage) -> None:
    await stage.nemesis.stop_database(signal.SIGINT)
    await stage.nemesis.start_database()


@enter("P31", "One backend of PostgreSQL is killed, which restarts them all", no_repeats=True,
       shapes=("once", "repeated"), check=nobody_was_convicted)  # fmt: skip
async def p31(stage: Stage) -> None:
    pid = await stage.system.scalar(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'callboard control' ORDER BY random() LIMIT 1"
    )
    fault = stage.nemesis.on("database", "postgres")
    os.kill(pid, signal.SIGKILL)
    await stage.system.when(lambda: not psutil.pid_exists(pid), "the backend is gone")
    stage.nemesis.took(fault, "the backend is gone")
    stage.nemesis.off("postgres")


@enter("P32", "The server ends our connections, one kind after the other", no_repeats=True, faults=len(POOLS),
       layout=SMALL, check=nobody_was_convicted)  # fmt: skip
async def p32(stage: Stage) -> None:
    for pool in POOLS:
        fault = stage.nemesis.on("database", pool)
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE $1"
        await stage.system.when(lambda: stage.system.scalar(query, f"{pool}%"), f"{pool} was ended")  # noqa: B023
        stage.nemesis.took(fault, "its connections were ended")
        stage.nemesis.off(pool)
        await trio.sleep(0.7)


def losing(id: str, title: str, what: str) -> None:
    """Each kind of write once, on whichever connection it comes."""

    async def hit(stage: Stage) -> None:
        statements = stage.system.statements
        for name in WRITES:
            before = statements.sprung.count(name)
            statements.trap(name, what)
            if name == "cancel":
                task = await stage.load.submit({"name": "nap", "args": {"seconds": 9}, "delay": 60}, "later", "victim")
                assert task is not None
                while not await cancelled(stage, task):
                    await trio.sleep(0.2)
            fault = stage.nemesis.on("database", name)
            await stage.system.when(lambda: statements.sprung.count(name) > before, f"a {name} was lost", 15)  # noqa: B023
            stage.nemesis.took(fault, f"{name}: {what}")
            stage.nemesis.off(name)

    enter(id, title, layout=SMALL, no_repeats=True, faults=len(WRITES), mix=Mix(tasks=250, pace=12),
          check=nobody_was_convicted)(hit)  # fmt: skip


async def cancelled(stage: Stage, task: int) -> bool:
    """Asks for it, and whether the table says so."""
    await stage.load.cancel(task)
    return bool(await stage.system.scalar("SELECT state = 'cancelled' FROM callboard_tasks WHERE id = $1", task))


losing("P33", "The answer to each kind of write is lost: the repeat asks the table", "lose_answer")
losing("P34", "Each kind of write is lost on its way", "lose")


@enter("P39", "The server becomes read-only for five seconds", hold=5.0, no_repeats=True, check=nobody_was_convicted)
async def p39(stage: Stage) -> None:
    fault = stage.nemesis.on("database", "postgres")
    await read_only(stage, True)
    stage.nemesis.took(fault, "the setting is on")
    await trio.sleep(5.0)
    await read_only(stage, False)
    stage.nemesis.off("postgres")


async def read_only(stage: Stage, on: bool) -> None:
    async with stage.system.database() as database:
        await database.execute("SET default_transaction_read_only = off")
        await database.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
        await database.execute("SELECT pg_reload_conf()")


MIB = 2**20


def on_a_small_disk(subfolder: str, size: int) -> Step:
    async def before(stage: Stage) -> None:
        server = stage.system.server
        await trio.to_thread.run_sync(server.stop)
        stage.memory["disk"] = SmallDisk(server, subfolder, size)
        await trio.to_thread.run_sync(server.start)

    return before


async def disk_is_full(stage: Stage) -> None:
    """For some seconds, and until somebody has felt it."""
    fault = stage.nemesis.on("database", "postgres")
    taken = stage.memory["disk"].fill()
    noise = os.urandom(60_000).hex()  # nothing that compresses
    body = {"name": "nap", "args": {"seconds": 0.01, "note": noise}, "delay": 3600}
    refused: list[int] = []
    with trio.move_on_after(30):
        while not refused:  # the tables and the log have some room of their own
            answer = await stage.system.cluster.http.post("tasks", json=body)
            if answer.status_code >= 500:
                refused.append(answer.status_code)
    assert refused, "V1: nothing was refused though the disk is full"
    assert set(refused) == {503}, f"V18: a full disk is answered with {refused}"
    stage.nemesis.took(fault, f"{taken // MIB} MiB were taken; a submission was refused")


async def disk_is_freed(stage: Stage) -> None:
    stage.memory["disk"].free()
    server = stage.system.server
    if server.process is not None and server.process.poll() is not None:
        server.process = None  # it gave up
    if server.process is None:
        await trio.to_thread.run_sync(server.start)
    stage.nemesis.off("postgres")


async def later_ones_are_cancelled(stage: Stage) -> None:
    """What filled the disk is not waited for."""
    async with stage.system.database() as database:
        rows = await database.fetch(
            "SELECT id FROM callboard_tasks WHERE run_at > clock_timestamp() + interval '10 min'"
        )
    for row in rows:
        stage.load.asked_for(row["id"], f"filler-{row['id']}")
        await stage.load.cancel(row["id"])


enter("P40", "The disk of the tables is full for a while", before=on_a_small_disk("base", 60 * MIB), heal=disk_is_freed,
      after=later_ones_are_cancelled, needs=(disks.missing,), hold=3.0, layout=SMALL,
      check=nobody_was_convicted)(disk_is_full)  # fmt: skip
enter("P41", "The disk of the write-ahead log is full: the server ends", before=on_a_small_disk("pg_wal", 64 * MIB),
      heal=disk_is_freed, after=later_ones_are_cancelled, needs=(disks.missing,), hold=3.0, layout=SMALL,
      check=nobody_was_convicted)(disk_is_full)  # fmt: skip


@enter("P28f", "The whole server freezes for eight seconds: sockets stay open, nothing answers", hold=8.0,
       layout=Layout(workers=2), no_repeats=True, check=nobody_was_convicted,
       shapes=("once", "repeated"), heal=lambda stage: thaw_database(stage))  # fmt: skip
async def p28f(stage: Stage) -> None:
    await stage.nemesis.freeze_database()


async def thaw_database(stage: Stage) -> None:
    stage.nemesis.thaw("postgres")
