"""Group A: processes die, freeze and come back."""

from __future__ import annotations

import signal
from functools import partial

import trio

from tests.system.bench.load import Mix
from tests.system.bench.nemesis import runs
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout

enter = partial(scenario, group="A")
LEASE = Layout().terms.lease
ODD = ("_exit", "exit", "interrupt", "generator", "base", "segfault")
ACCEPTED_ODD_ENDS = {"failed", "quarantined"}


async def killed_are_back(stage: Stage) -> None:
    await stage.nemesis.back(*stage.memory.pop("killed", ()))


async def thawed(stage: Stage) -> None:
    stage.nemesis.thaw(stage.memory.pop("frozen"))


async def nobody_was_convicted(stage: Stage) -> None:
    """No session ended but by a goodbye, and none will have."""
    dead = await stage.system.scalar("SELECT count(*) FROM callboard_workers WHERE state = 'dead'")
    assert dead == 0, f"V12: {dead} sessions were convicted"


async def kill(stage: Stage, *names: str) -> None:
    stage.memory["killed"] = list(names)
    await stage.nemesis.kill(*names)


@enter(
    "P01", "A worker node is killed while it works", heal=killed_are_back, lossy=True,
    shapes=("once", "permanent", "repeated", "start"),
)  # fmt: skip
async def p01(stage: Stage) -> None:
    victim = await stage.worker_at_work()
    await kill(stage, victim)
    if stage.shape == "start":
        await stage.nemesis.kill_while_starting(victim, stage.random.uniform(0.05, 1.5))


async def the_session_lives(stage: Stage) -> None:
    await nobody_was_convicted(stage)
    crashed = await stage.system.scalar("SELECT count(*) FROM callboard_attempts WHERE outcome = 'crashed'")
    assert crashed > 0, "V14: nothing was reported as crashed"


@enter("P02", "An executor is killed, its node lives", lossy=True, shapes=("once", "repeated"), check=the_session_lives)
async def p02(stage: Stage) -> None:
    await stage.nemesis.kill_executor(await stage.worker_at_work())


@enter(
    "P03", "The coordinator that holds the streams is killed", heal=killed_are_back, no_repeats=True,
    shapes=("once", "permanent", "repeated", "start"), check=nobody_was_convicted,
)  # fmt: skip
async def p03(stage: Stage) -> None:
    victim = await stage.system.busiest_coordinator()
    await kill(stage, victim)
    if stage.shape == "start":
        await stage.nemesis.kill_while_starting(victim, stage.random.uniform(0.05, 1.5))


@enter(
    "P04", "Both coordinators are killed, and started again within the lease", heal=killed_are_back, no_repeats=True,
    hold=1.0, shapes=("once",), layout=Layout(workers=2), check=nobody_was_convicted, faults=2,
)  # fmt: skip
async def p04(stage: Stage) -> None:
    await kill(stage, *stage.system.layout.coordinator_names)


@enter(
    "P06", "The node that takes submissions is killed in the middle of fifty", heal=killed_are_back,
    no_repeats=True, shapes=("once", "repeated"), hold=0.5,
)  # fmt: skip
async def p06(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        stage.memory["round"] = stage.memory.get("round", 0) + 1
        for number in range(50):
            key = f"burst-{stage.memory['round']}-{number}"
            body = {"name": "nap", "args": {"seconds": 0.02}}
            nursery.start_soon(stage.load.submit, body, "short", key)
        await trio.sleep(stage.random.uniform(0.0, 0.15))
        await kill(stage, "front")
        await killed_are_back(stage)


@enter(
    "P07", "A worker is frozen for two leases, with its executors, and revives", heal=thawed, hold=2 * LEASE,
    overlap=f"pause:{2 * LEASE:g}", shapes=("once", "permanent"),
)  # fmt: skip
async def p07(stage: Stage) -> None:
    victim = stage.memory["frozen"] = await stage.worker_at_work()
    await stage.nemesis.freeze(victim)


@enter(
    "P07n", "A worker's node is frozen for two leases, its executors are not: they stop in time", heal=thawed,
    hold=2 * LEASE, shapes=("once",),
)  # fmt: skip
async def p07n(stage: Stage) -> None:
    victim = stage.memory["frozen"] = await stage.worker_at_work()
    await stage.nemesis.freeze(victim, executors=False)


@enter(
    "P08", "The coordinator that holds the streams is frozen for two leases", heal=thawed, hold=2 * LEASE,
    no_repeats=True, shapes=("once", "permanent"), check=nobody_was_convicted,
)  # fmt: skip
async def p08(stage: Stage) -> None:
    victim = stage.memory["frozen"] = await stage.system.busiest_coordinator()
    await stage.nemesis.freeze(victim, kind="other")


@enter(
    "P09", "A handler stops its whole executor: it is found stalled, killed, and the task runs again", hold=0.0,
    lossy=True, layout=Layout(workers=2), final_within=80.0, mix=Mix(tasks=60),
)  # fmt: skip
async def p09(stage: Stage) -> None:
    system = stage.system
    await stage.load.submit({"name": "petrify", "args": {"marker": "petrify"}}, "petrify", "petrify")
    marker = system.folder / "petrify.petrified"
    await system.when(lambda: marker.read_text(), "the executor has stopped itself")
    pid = int(marker.read_text())
    victim = next(name for name in system.layout.worker_names if pid in system.pids(name))
    fault = stage.nemesis.on("other", victim)  # it is full until then, and has no claim to an equal share
    stage.nemesis.took(fault, "the handler has run to its stop")
    await system.when(lambda: not runs(pid), "the stalled executor was killed", limit=45.0)
    stage.nemesis.off(victim)


@enter(
    "P10", "A worker whose handlers do not leave is told to stop, and killed when it takes too long",
    heal=killed_are_back, lossy=True,
    layout=Layout(worker_settings={"callboard_drain": 1, "callboard_cancel_grace": 1}),
)  # fmt: skip
async def p10(stage: Stage) -> None:
    for number in range(4):
        body = {"name": "stubborn", "args": {"seconds": 4}, "priority": 1}
        await stage.load.submit(body, "stubborn", f"stubborn-{number}")
    await trio.sleep(0.5)
    victim = await stage.worker_at_work()
    pids = stage.system.pids(victim)
    fault = stage.nemesis.on("stop", victim)
    began = trio.current_time()
    await stage.system.stop(victim, limit=20)
    took = trio.current_time() - began
    assert took < 8, f"V11: the stop took {took:.1f} s"
    await stage.nemesis.gone(pids, limit=2)
    stage.nemesis.took(fault, f"gone after {took:.1f} s")
    stage.memory["killed"] = [victim]


@enter("P11", "Only the node's process is killed: its executors are gone within two seconds", lossy=True,
       heal=killed_are_back, shapes=("once", "repeated"))  # fmt: skip
async def p11(stage: Stage) -> None:
    victim = await stage.worker_at_work()
    pids = stage.system.pids(victim)
    began = trio.current_time()
    await kill(stage, victim)
    await stage.nemesis.gone(pids, limit=2)
    assert trio.current_time() - began < 2.5, "V16: executors outlived their node"


@enter(
    "P12", "Everything but the database is killed, and started again in random order", lossy=True, faults=5,
    heal=killed_are_back, final_within=60.0, layout=Layout(),
)  # fmt: skip
async def p12(stage: Stage) -> None:
    names = list(stage.system.names)
    await kill(stage, *names)
    stage.random.shuffle(names)
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(stage.system.start, name)
            await trio.sleep(stage.random.uniform(0, 0.3))
    for name in names:
        stage.nemesis.off(name)


async def odd_ends_are_told(stage: Stage) -> None:
    for how, task in stage.memory["odd"].items():
        state = await stage.system.scalar("SELECT state FROM callboard_tasks WHERE id = $1", task)
        assert state in ACCEPTED_ODD_ENDS, f"V14: a handler that ends by {how} is {state}"
    dead = await stage.system.scalar("SELECT count(*) FROM callboard_workers WHERE state = 'dead'")
    assert dead == 0, "V1: a handler's end cost the worker its session"


@enter(
    "P14", "Handlers end as none should: _exit, SystemExit, KeyboardInterrupt, BaseException, a segmentation fault",
    lossy=True, check=odd_ends_are_told, hold=0.0, final_within=60.0, mix=Mix(tasks=60),
)  # fmt: skip
async def p14(stage: Stage) -> None:
    fault = stage.nemesis.on("other", "handlers")
    stage.memory["odd"] = {
        how: await stage.load.submit({"name": "odd", "args": {"how": how}}, "odd", f"odd-{how}") for how in ODD
    }
    stage.nemesis.took(fault, "they are submitted")
    stage.nemesis.off("handlers")


@enter(
    "P57", "A node gets SIGTERM, SIGTERM, SIGINT and SIGHUP in quick order, also while it starts", lossy=True,
    heal=killed_are_back, shapes=("once", "start"),
)  # fmt: skip
async def p57(stage: Stage) -> None:
    victim = await stage.worker_at_work()
    system = stage.system
    pids = system.pids(victim)
    fault = stage.nemesis.on("stop", victim)
    system.stopping.add(victim)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if system.alive(victim):
            system.nodes[victim].process.send_signal(number)
        await trio.sleep(0.05)
    with trio.fail_after(15):
        await system.nodes[victim].process.wait()
    await stage.nemesis.gone(pids, limit=3)
    assert "Traceback" not in system.log(victim).read_text(), "V18: a traceback"
    stage.nemesis.took(fault, f"it ended with {system.nodes[victim].process.returncode}")
    stage.memory["killed"] = [victim]
    if stage.shape == "start":
        await stage.nemesis.kill_while_starting(victim, stage.random.uniform(0.05, 1.0))
