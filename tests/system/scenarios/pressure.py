"""Group F: too much to do, too little to do it with, and bytes that mean nothing."""

from __future__ import annotations

import os
import resource
import signal
import socket
from functools import partial

import psutil
import trio

from tests.system.bench import memory
from tests.system.bench.load import Mix
from tests.system.bench.memory import MemoryLimit, preferred
from tests.system.bench.nemesis import runs
from tests.system.bench.scenario import Need, Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import killed_are_back, nobody_was_convicted, the_session_lives

enter = partial(scenario, group="F")
CROWD, BATCH = 20_000, 2_000
DESCRIPTORS = 64
VARIED = 600
MIB = 2**20
ROOM = 64 * MIB


@enter("P61", "Handlers hold their loop and the interpreter for two leases", hold=0.0, no_repeats=True,
       check=nobody_was_convicted, final_within=60.0)  # fmt: skip
async def p61(stage: Stage) -> None:
    fault = stage.nemesis.on("other", "executors")
    for number in range(2):
        await stage.load.submit({"name": "spin", "args": {"seconds": 6.0}}, "spin", f"long-spin-{number}")
    stage.nemesis.took(fault, "they are submitted")
    stage.nemesis.off("executors")


@enter("P62", f"{CROWD} tasks are due at one instant", hold=0.0, no_repeats=True, check=nobody_was_convicted,
       final_within=120.0, mix=Mix(tasks=60))  # fmt: skip
async def p62(stage: Stage) -> None:
    fault = stage.nemesis.on("other", "queue")
    ids = [one for _ in range(CROWD // BATCH) for one in await stage.load.crowd(BATCH, delay=8.0)]
    assert len(set(ids)) == CROWD
    stage.nemesis.took(fault, "they are submitted")
    stage.nemesis.off("queue")


async def on_duty_cycle(stage: Stage, name: str, seconds: float, share: float) -> None:
    """The process runs for this share of the time: stopped and continued twenty times a second."""
    pid = stage.system.nodes[name].pid
    fault = stage.nemesis.on("other", name)
    before, period = psutil.Process(pid).cpu_times(), 0.05
    end = trio.current_time() + seconds
    try:
        while trio.current_time() < end:
            os.kill(pid, signal.SIGSTOP)
            await trio.sleep(period * (1 - share))
            os.kill(pid, signal.SIGCONT)
            await trio.sleep(period * share)
    finally:
        os.kill(pid, signal.SIGCONT)
    after = psutil.Process(pid).cpu_times()
    used = (after.user + after.system - before.user - before.system) / seconds
    stage.nemesis.took(fault, f"it used {used:.0%} of a processor")
    stage.nemesis.off(name)


@enter("P64", "A coordinator gets a tenth of a processor for ten seconds", hold=0.0, no_repeats=True,
       layout=Layout(), check=nobody_was_convicted, final_within=60.0)  # fmt: skip
async def p64(stage: Stage) -> None:
    await on_duty_cycle(stage, await stage.system.busiest_coordinator(), 10.0, 0.1)


@enter("P66", f"Coordinator and front may open {DESCRIPTORS} descriptors, and idle clients take them all", hold=0.0,
       no_repeats=True, check=nobody_was_convicted, final_within=60.0)  # fmt: skip
async def p66(stage: Stage) -> None:
    system = stage.system
    taken: list[socket.socket] = []
    fault = stage.nemesis.on("other", "descriptors")
    victims = {"front": system.ports["front"], "c1": system.addresses["c1"][1]}
    before = {name: resource.prlimit(system.nodes[name].pid, resource.RLIMIT_NOFILE) for name in victims}
    try:
        for name, port in victims.items():
            resource.prlimit(system.nodes[name].pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, before[name][1]))
            for _ in range(2 * DESCRIPTORS):
                taken.append(socket.create_connection(("127.0.0.1", port)))
        await trio.sleep(2.0)
        used = {name: psutil.Process(system.nodes[name].pid).num_fds() for name in victims}
        cpu = {name: psutil.Process(system.nodes[name].pid).cpu_times().user for name in victims}
        await trio.sleep(2.0)
        spent = {name: psutil.Process(system.nodes[name].pid).cpu_times().user - cpu[name] for name in victims}
        assert max(spent.values()) < 1.5, f"V16: it spins when no descriptor is left: {spent} s of 2 s"
        stage.nemesis.took(fault, f"descriptors in use: {used}")
    finally:
        for one in taken:
            one.close()
        for name, limits in before.items():
            resource.prlimit(system.nodes[name].pid, resource.RLIMIT_NOFILE, limits)
        stage.nemesis.off("descriptors")


@enter("P68", "Coordinators get bytes that mean nothing, and broken halves of what does", hold=0.0, no_repeats=True,
       check=nobody_was_convicted)  # fmt: skip
async def p68(stage: Stage) -> None:
    system, chance = stage.system, stage.random
    fault = stage.nemesis.on("other", "coordinators")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    samples = [
        b"GET / HTTP/1.1\r\n\r\n", preface[:10], preface, preface + bytes.fromhex("ffffff0104000000ff"),
        preface + bytes.fromhex("000000060000000000"), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ]  # fmt: skip
    sent = 0
    for _ in range(60):
        data = chance.choice([*samples, chance.randbytes(chance.randint(1, 5000)), preface + chance.randbytes(300)])
        port = system.addresses[chance.choice(system.layout.coordinator_names)][1]
        with socket.create_connection((system.behind, port)) as one:
            one.sendall(data)
            sent += 1
            await trio.sleep(chance.uniform(0, 0.05))
    stage.nemesis.took(fault, f"{sent} connections sent nonsense")
    stage.nemesis.off("coordinators")


@enter("P69", "Nobody takes what a node logs: the disk of its log is full", heal=killed_are_back, lossy=True,
       final_within=60.0)  # fmt: skip
async def p69(stage: Stage) -> None:
    system = stage.system
    names = [await system.busiest_coordinator(), await stage.worker_at_work()]
    await stage.nemesis.kill(*names)
    for name in names:
        system.log(name).rename(system.folder / f"{name}.before.log")
        system.log(name).symlink_to("/dev/full")
    await system.start(*names)
    fault = stage.nemesis.on("other", "logs")
    stage.nemesis.took(fault, f"the logs of {names} are /dev/full")
    await trio.sleep(2)
    await stage.nemesis.kill_executor(names[1])  # something to log
    await trio.sleep(1)
    for name in names:
        assert system.alive(name), f"V16: {name} died of its log"
        system.log(name).unlink()
        (system.folder / f"{name}.before.log").rename(system.log(name))
        stage.nemesis.off(name)
    stage.nemesis.off("logs")


@enter("P63", "Workers of 1, 2 and 8 slots share what comes, and none takes more than it has", hold=0.0,
       no_repeats=True, layout=Layout(coordinators=1, slots=(1, 2, 8)), check=nobody_was_convicted, mix=Mix(tasks=60),
       final_within=90.0)  # fmt: skip
async def p63(stage: Stage) -> None:
    """The judge looks at slots (V6) and at shares (V9)."""
    fault = stage.nemesis.on("other", "queue")
    async with trio.open_nursery() as nursery:
        for number in range(VARIED):
            body = {"name": "nap", "args": {"seconds": round(stage.random.uniform(0.01, 0.4), 3)}}
            nursery.start_soon(stage.load.submit, body, "short", f"varied-{number}")
    stage.nemesis.took(fault, f"{VARIED} are submitted")
    stage.nemesis.off("queue")


@enter("P65", "An executor takes more memory than the worker may have, and the kernel kills it", hold=0.0, lossy=True,
       needs=(memory.missing,), check=the_session_lives)  # fmt: skip
async def p65(stage: Stage) -> None:
    await out_of_memory(stage, node_first=False)


@enter("P65n", "The same, and it is the worker's node that the kernel kills", lossy=True, heal=killed_are_back,
       needs=(memory.missing,))  # fmt: skip
async def p65n(stage: Stage) -> None:
    await out_of_memory(stage, node_first=True)


async def out_of_memory(stage: Stage, *, node_first: bool) -> None:
    """All workers may grow by ROOM; the handler wants far more than that."""
    system, names = stage.system, stage.system.layout.worker_names
    limits = {name: MemoryLimit(name, ROOM) for name in names}
    try:
        before = {}
        for name, limit in limits.items():
            before[name] = system.pids(name)
            limit.take_in(before[name])
            if node_first:
                preferred(before[name][0])
        stage.memory["hogs"] = number = stage.memory.get("hogs", 0) + 1
        marker = f"hog-{number}-{stage.random.random()}"
        body = {"name": "hog", "args": {"marker": marker, "mib": 3 * ROOM // MIB}, "priority": 1}
        await stage.load.submit(body, "hog", marker)
        victims: list[int] = []
        with trio.move_on_after(60):
            while not (victims := [pid for pids in before.values() for pid in pids if not runs(pid)]):
                await trio.sleep(0.02)
        assert victims, "nobody was killed for its memory"
        name = next(name for name in names if victims[0] in before[name])
        if node_first:
            stage.memory["killed"] = [name]
            await stage.nemesis.dies(name, before[name])
        else:
            fault = stage.nemesis.on("other", f"executor of {name}")
            stage.nemesis.took(fault, f"the kernel killed {victims}")
            stage.nemesis.off(f"executor of {name}")
    finally:
        for limit in limits.values():
            limit.lift()


def lacking(what: str) -> tuple[Need, ...]:
    return (lambda: what,)


async def never(stage: Stage) -> None:
    raise AssertionError("a scenario that lacks something is not run")


enter("P67", "Nodes of this release and of the one before, together",
      needs=lacking("there is no earlier release of the link's protocol"))(never)  # fmt: skip
