"""Group E: nodes are told to stop, fail to start, or meet tasks that kill."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

from callboard.launcher import command
from tests.system.bench.load import Mix
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import killed_are_back, nobody_was_convicted

enter = partial(scenario, group="E")


async def stopped(stage: Stage, name: str, limit: float, code: int = 0) -> float:
    """SIGTERM; how many seconds it took. Raises AssertionError when it took longer, or ended otherwise."""
    pids = stage.system.pids(name)
    fault = stage.nemesis.on("stop", name)
    began = trio.current_time()
    await stage.system.stop(name, limit=limit + 5)
    took = trio.current_time() - began
    assert took <= limit, f"V11: {name} took {took:.1f} s to stop; the limit is {limit:g} s"
    ended = stage.system.nodes[name].process.returncode
    assert ended == code, f"V11: {name} ended with {ended}"
    await stage.nemesis.gone(pids, limit=2)
    stage.nemesis.took(fault, f"it left after {took:.1f} s")
    stage.memory["killed"] = [name]
    return took


@enter("P53", "A worker is told to stop; what it runs is shorter than the drain", heal=killed_are_back, no_repeats=True,
       shapes=("once", "repeated", "permanent"), check=nobody_was_convicted)  # fmt: skip
async def p53(stage: Stage) -> None:
    await stopped(stage, await stage.worker_at_work(), limit=15)


@enter(
    "P54", "A worker is told to stop, and a handler shields itself for a minute", heal=killed_are_back, lossy=True,
    layout=Layout(worker_settings={"callboard_drain": 2, "callboard_cancel_grace": 1}),
)  # fmt: skip
async def p54(stage: Stage) -> None:
    for number in range(2):
        await stage.load.submit({"name": "stubborn", "args": {"seconds": 5}}, "stubborn", f"stubborn-{number}")
    await trio.sleep(0.5)
    await stopped(stage, await stage.worker_at_work(), limit=10)


@enter("P55", "Coordinators are told to stop one after the other, and come back, eight times", heal=killed_are_back,
       no_repeats=True, shapes=("repeated",), repeats=8, hold=0.2, calm=1.0, check=nobody_was_convicted)  # fmt: skip
async def p55(stage: Stage) -> None:
    await stopped(stage, await stage.system.busiest_coordinator(), limit=10)


@enter("P56", "The node that serves clients is told to stop, with clients that read or send slowly",
       heal=killed_are_back, no_repeats=True)  # fmt: skip
async def p56(stage: Stage) -> None:
    port = stage.system.ports["front"]
    with slow_clients(port, 3):
        await trio.sleep(0.3)
        await stopped(stage, "front", limit=20)


@contextmanager
def slow_clients(port: int, count: int) -> Iterator[None]:
    """So many that never read their answers, and so many that never finish their requests."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            reader = socket.create_connection(("127.0.0.1", port))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            reader.sendall(b"GET /api/v1/tasks?limit=500 HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
            sender = socket.create_connection(("127.0.0.1", port))
            sender.sendall(b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 5000\r\n\r\n{")  # fmt: skip
            opened += [reader, sender]
        yield
    finally:
        for one in opened:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()


@enter("P58", "A worker whose handlers can't be imported refuses to start; the others do not notice", hold=0.0,
       no_repeats=True, check=nobody_was_convicted)  # fmt: skip
async def p58(stage: Stage) -> None:
    system = stage.system
    broken = system.folder / "broken.py"
    broken.write_text("raise RuntimeError('at import')\n")
    address = "http://{}:{}".format(*system.addresses["c1"])
    fault = stage.nemesis.on("other", "broken worker")
    done = await trio.run_process(
        [*command("node"), "--roles", "worker", "--app", str(broken)],
        env={"PATH": "/usr/bin:/bin", "COORDINATOR_ADDRESS": address, "CALLBOARD_HTTP_PORT": "0",
             "CALLBOARD_ENV_FILE": ""},
        check=False, capture_stdout=True, capture_stderr=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 78, f"V17: it ended with {done.returncode}"
    assert b"Traceback" not in done.stderr, "V18: a traceback"
    assert b"at import" in done.stderr, "V17: it does not say why"
    stage.nemesis.took(fault, "it ended with 78")
    stage.nemesis.off("broken worker")


async def only_poison_is_set_aside(stage: Stage) -> None:
    async with stage.system.database() as database:
        rows = await database.fetch("SELECT id, crashes FROM callboard_tasks WHERE state = 'quarantined'")
    found, poison = {row["id"]: row["crashes"] for row in rows}, set(stage.memory["poison"])
    assert found.keys() - poison == set(), f"V14: innocent tasks were quarantined: {sorted(found.keys() - poison)[:5]}"
    assert found.keys() == poison, f"V14: poison was not: {sorted(poison - found.keys())}"
    assert set(found.values()) == {3}, f"V14: crashes of the quarantined: {found}"


@enter(
    "P59", "Tasks that kill their executor each time, among a hundred and fifty innocent ones", hold=0.0, lossy=True,
    check=only_poison_is_set_aside, final_within=90.0,
)  # fmt: skip
async def p59(stage: Stage) -> None:
    fault = stage.nemesis.on("other", "executors")
    stage.memory["poison"] = [
        await stage.load.submit({"name": "poison"}, "poison", f"poison-{number}") for number in range(2)
    ]
    stage.nemesis.took(fault, "they are submitted")
    stage.nemesis.off("executors")


async def nobody_is_set_aside(stage: Stage) -> None:
    count = await stage.system.scalar("SELECT count(*) FROM callboard_tasks WHERE state = 'quarantined'")
    assert count == 0, f"V14: {count} innocent tasks were quarantined"


@enter(
    "P60", "All workers are killed twice within a minute; long tasks survive it", heal=killed_are_back, lossy=True,
    shapes=("repeated",), repeats=2, faults=2, check=nobody_is_set_aside, final_within=90.0, mix=Mix(long=6.0),
)  # fmt: skip
async def p60(stage: Stage) -> None:
    await stage.worker_at_work()
    names = stage.system.layout.worker_names
    await stage.nemesis.kill(*names)
    stage.memory["killed"] = names
