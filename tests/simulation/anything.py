"""Any fault at all, by chance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.simulation.database import HOST
from tests.simulation.faults import Faults


async def random_fault(faults: Faults) -> None:
    """One fault of any kind."""
    dice, world = faults.dice, faults.world
    seconds = dice.weighted([(3, dice.uniform(0.1, 1.5)), (2, dice.uniform(1.5, 5.0)), (1, dice.uniform(5.0, 8.0))])
    worker, server = dice.pick(world.workers), dice.pick(world.coordinators)
    node = dice.pick(world.nodes)
    hosts = [one.host for one in world.nodes] + [HOST]
    choices: list[Callable[[], Awaitable[None]]] = [
        lambda: faults.crash(node, seconds, silent=dice.happens(0.4)),
        lambda: faults.crash_at(node, dice.number(1, 80), seconds, 3.0 + seconds),
        lambda: faults.freeze(node, seconds, whole=dice.happens(0.3)),
        lambda: faults.restart(node, min(seconds, 1.0)),
        lambda: faults.kill_executor(worker),
        lambda: faults.block_executor(worker, seconds),
        lambda: faults.cut([(dice.pick(hosts), dice.pick(hosts))], seconds, kind="one way"),
        lambda: faults.split(
            dice.some(hosts, dice.number(1, 3)), seconds, way=dice.pick(["both", "both", "in", "out"])
        ),
        lambda: faults.reset(worker.host, server.host),
        lambda: faults.tear(worker.host, server.host, seconds),
        lambda: faults.slow_network(seconds, dice.uniform(0.02, 0.3)),
        lambda: faults.repeat_messages(seconds, dice.uniform(0.1, 0.5)),
        lambda: faults.lose_hints(seconds),
        lambda: faults.outage(min(seconds, 4.0)),
        lambda: faults.lock(min(seconds, 4.0)),
        lambda: faults.trouble(seconds, lose_answer=dice.uniform(0.05, 0.5)),
        lambda: faults.trouble(seconds, lose_question=dice.uniform(0.05, 0.5), only=server),
        lambda: faults.trouble(seconds, refuse=dice.pick([0.3, 1.0])),
        lambda: faults.trouble(seconds, slow=dice.uniform(0.05, 1.0)),
        lambda: faults.step_clock(dice.uniform(-10, 10), seconds),
        lambda: faults.pause_worker(worker, seconds),
        lambda: faults.drain_worker(worker),
    ]
    await dice.pick(choices)()
