"""Group B: links are late, lossy, cut, half open; the database is out of reach."""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from tests.system.bench import namespaces
from tests.system.bench.load import Mix
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import LEASE, killed_are_back, nobody_was_convicted

enter = partial(scenario, group="B")
TWO = Layout(workers=2)
SPACES = Layout(namespaces=True)


async def mended(stage: Stage) -> None:
    if "cut" in stage.memory:
        stage.nemesis.mend(stage.memory.pop("cut"))


async def all_calm(stage: Stage) -> None:
    stage.system.calm()
    for target in ("links", "databases", *stage.system.names):
        stage.nemesis.off(target)


@enter("P15", "A worker's link is cut both ways for two leases", heal=mended, hold=2 * LEASE, overlap="cut",
       shapes=("once", "permanent"))  # fmt: skip
async def p15(stage: Stage) -> None:
    stage.memory["cut"] = victim = await stage.worker_at_work()
    await stage.nemesis.cut(victim)


@enter("P16", "What a worker sends is lost for two leases", heal=mended, hold=2 * LEASE, overlap="cut",
       shapes=("once", "permanent"))  # fmt: skip
async def p16(stage: Stage) -> None:
    stage.memory["cut"] = victim = await stage.worker_at_work()
    await stage.nemesis.cut(victim, down=False)


@enter(
    "P17", "What a coordinator sends to a worker is lost: it resumes at the other one", heal=mended, hold=2 * LEASE,
    shapes=("once", "permanent"), layout=TWO, no_repeats=True, check=nobody_was_convicted,
)  # fmt: skip
async def p17(stage: Stage) -> None:
    stage.memory["cut"] = victim = await stage.worker_at_work()
    home = (await stage.system.linked())[victim]
    await stage.nemesis.cut(victim, home, up=False)


@enter("P18", "Every connection of a worker is reset, for a second or for good", heal=mended, hold=1.0,
       overlap="reset", lossy=True, shapes=("once", "repeated", "permanent"))  # fmt: skip
async def p18(stage: Stage) -> None:
    stage.memory["cut"] = victim = await stage.worker_at_work()
    fault = stage.nemesis.on("link", victim)
    for proxy in stage.system.links.values():
        proxy.refuses.add(victim)
    count = sum(proxy.reset(victim) for proxy in stage.system.links.values())
    assert count, "there was no connection to reset"
    stage.nemesis.took(fault, f"{count} connections were reset")


@enter("P19", "Half of a link is closed, from either side", no_repeats=True, shapes=("once", "repeated"),
       check=nobody_was_convicted)  # fmt: skip
async def p19(stage: Stage) -> None:
    victim = await stage.worker_at_work()
    fault = stage.nemesis.on("link", victim)
    towards_server = stage.memory["towards_server"] = not stage.memory.get("towards_server", False)
    count = sum(proxy.half_close(towards_server, victim) for proxy in stage.system.links.values())
    assert count, "there was no connection to close"
    stage.nemesis.took(fault, f"{count} connections were half closed")
    stage.nemesis.off(victim)


@enter("P20", "A link is cut, its worker is killed, the link heals: only the coordinator's side was left",
       heal=killed_are_back, lossy=True)  # fmt: skip
async def p20(stage: Stage) -> None:
    victim = await stage.worker_at_work()
    await stage.nemesis.cut(victim)
    stage.memory["killed"] = [victim]
    await stage.nemesis.kill(victim, kind="silent")
    await trio.sleep(0.5)
    stage.nemesis.mend(victim)


@enter("P21", "All links are late by 200 ms, more or less 150", heal=all_calm, hold=8.0, layout=TWO,
       no_repeats=True, check=nobody_was_convicted)  # fmt: skip
async def p21(stage: Stage) -> None:
    await late(stage, 0.2, 0.15)


@enter(
    "P22", "All links grow late, up to a second each way", heal=all_calm, hold=6.0, no_repeats=True,
    layout=Layout(profile="default", workers=2), final_within=60.0, check=nobody_was_convicted,
)  # fmt: skip
async def p22(stage: Stage) -> None:
    await late(stage, 0.3)
    await trio.sleep(2)
    for seconds in (0.6, 1.0):
        for proxy in stage.system.links.values():
            proxy.up(delay=seconds)
            proxy.down(delay=seconds)
        await trio.sleep(2)


async def late(stage: Stage, delay: float, jitter: float = 0.0) -> None:
    fault = stage.nemesis.on("link", "links")
    for proxy in stage.system.links.values():
        proxy.up(delay=delay, jitter=jitter)
        proxy.down(delay=delay, jitter=jitter)
    before = stage.system.passed()
    await stage.system.when(lambda: stage.system.passed() > before, "bytes pass, late")
    stage.nemesis.took(fault, f"bytes wait for {delay:g} s")


@enter(
    "P24", "One worker's link carries 64 kbit/s, and results of 200 KiB", heal=all_calm, hold=6.0, overlap="any",
    lossy=True, layout=Layout(), final_within=90.0, mix=Mix(tasks=80, pace=12),
)  # fmt: skip
async def p24(stage: Stage) -> None:
    victim = await stage.worker_at_work()
    fault = stage.nemesis.on("link", victim)
    for proxy in stage.system.links.values():
        proxy.up(victim, rate=8_000)
        proxy.down(victim, rate=8_000)
    async with trio.open_nursery() as nursery:
        for number in range(6):
            body = {"name": "nap", "args": {"seconds": 0.1, "weight": 200 * 1024}}
            nursery.start_soon(stage.load.submit, body, "heavy", f"heavy-{number}")
    stage.nemesis.took(fault, "its link is slow")


@enter(
    "P25", "A link is cut after each 37th byte of its first 2000, in both directions", heal=all_calm, overlap="reset",
    lossy=True, final_within=60.0, layout=Layout(workers=2), mix=Mix(tasks=300, pace=10),
)  # fmt: skip
async def p25(stage: Stage) -> None:
    fault = stage.nemesis.on("link", "w1")
    cuts = 0
    for number in range(1, 2000, 37):
        for up in (True, False):
            before = stage.system.lost()
            for proxy in stage.system.links.values():
                proxy.calm("w1")
                (proxy.up if up else proxy.down)("w1", cut_after=number)
                proxy.reset("w1")
            with trio.move_on_after(2.0):
                while stage.system.lost() == before:
                    await trio.sleep(0.01)
            cuts += stage.system.lost() > before
            stage.system.calm()
    assert cuts > 40, f"only {cuts} cuts took effect"
    stage.nemesis.took(fault, f"{cuts} connections were cut")
    stage.nemesis.off("w1")


@enter("P26", "One coordinator does not reach the database; the other one does", heal=all_calm,
       hold=2 * TWO.terms.lease, layout=TWO, final_within=60.0, shapes=("once", "permanent"))  # fmt: skip
async def p26(stage: Stage) -> None:
    victim = await stage.system.busiest_coordinator()
    await hold_databases(stage, victim)


@enter("P27", "Nobody reaches the database for ten seconds", heal=all_calm, hold=10.0, no_repeats=True,
       check=nobody_was_convicted, final_within=60.0, shapes=("once", "repeated"))  # fmt: skip
async def p27(stage: Stage) -> None:
    await hold_databases(stage, *stage.system.server_names)


async def hold_databases(stage: Stage, *names: str) -> None:
    target = names[0] if len(names) == 1 else "databases"
    fault = stage.nemesis.on("database", target)
    for name in names:
        stage.system.databases[name].up(held=True)
        stage.system.databases[name].down(held=True)
    await trio.sleep(0.1)  # what was being written is through
    before = stage.system.passed(*names)
    assert before > 0, "nothing ever passed"
    await trio.sleep(0.5)
    assert stage.system.passed(*names) == before, "bytes still passed"
    stage.nemesis.took(fault, "nothing passed for half a second")


@enter("P28", "A proxy takes what a coordinator sends to the database and delivers nothing", heal=all_calm, hold=5.0,
       layout=TWO, final_within=60.0, shapes=("once", "permanent"))  # fmt: skip
async def p28(stage: Stage) -> None:
    victim = await stage.system.busiest_coordinator()
    fault = stage.nemesis.on("database", victim)
    proxy = stage.system.databases[victim]
    before = proxy.lost
    proxy.up(swallow=True)
    await stage.system.when(lambda: proxy.lost > before, "bytes are swallowed")
    stage.nemesis.took(fault, "bytes were swallowed")


# --- packets that are really dropped ------------------------------------------------------------------


def spaces(id: str, title: str, how: tuple[str, ...], *, up: bool = True, down: bool = True, **more: Any) -> None:
    """The same at the level of packets, in network namespaces."""

    async def hit(stage: Stage) -> None:
        victim = await stage.worker_at_work()
        space = stage.system.spaces[victim]
        fault = stage.nemesis.on("link" if "REJECT" in how or "statistic" in how else "silent", victim)
        space.cut(up=up, down=down, how=how)
        await stage.system.when(lambda: space.dropped() > 0, "packets are dropped")
        stage.nemesis.took(fault, f"{space.dropped()} packets met the rule")

    async def heal(stage: Stage) -> None:
        for name, space in stage.system.spaces.items():
            space.mend()
            stage.nemesis.off(name)

    enter(id, title, heal=heal, layout=SPACES, needs=(namespaces.missing,), **more)(hit)


DROP = ("-j", "DROP")
RESET = ("-j", "REJECT", "--reject-with", "tcp-reset")
LOSS = ("-m", "statistic", "--mode", "random", "--probability", "0.3", "-j", "DROP")
spaces("P15p", "A worker's packets are dropped both ways for two leases", DROP, hold=2 * LEASE, overlap="cut")
spaces("P16p", "Packets from a worker are dropped for two leases", DROP, down=False, hold=2 * LEASE, overlap="cut")
spaces("P17p", "Packets to a worker are dropped for two leases", DROP, up=False, hold=2 * LEASE, overlap="cut")
spaces("P18p", "A worker's packets are answered with a reset for a second", RESET, down=False, hold=1.0,
       overlap="reset", lossy=True)  # fmt: skip
spaces("P23", "Three of ten packets of a worker are lost, for ten seconds", LOSS, hold=10.0, overlap="cut", lossy=True,
       final_within=60.0)  # fmt: skip
