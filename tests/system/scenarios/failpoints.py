"""P13: a node ends, fails or waits at each named point of the protocol."""

from __future__ import annotations

from tests.system.bench.arm import POINTS
from tests.system.bench.load import Mix
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import killed_are_back

FRONT = ("submit.before_commit", "submit.after_commit")
WORKER = ("assign.received", "executor.after_start", "outcome.before_report")
LEAVING = tuple(sorted(point for point in POINTS if point.startswith("drain.")))
CRON = ("cron.before_commit", "cron.after_commit")  # passed where there are schedules: tests/system/test_schedules.py
COORDINATOR = tuple(sorted(POINTS - {*FRONT, *WORKER, *LEAVING, *CRON}))
ENDS = {("outcome.before_report", "raise")}  # an outcome that is nowhere else: the node does not outlive its loss
SMALL = Layout(workers=2)
LOAD = Mix(tasks=60, long=2.0)


def place(stage: Stage, point: str) -> str:
    """The node that passes this point."""
    return "front" if point in FRONT else "w1" if point in (*WORKER, *LEAVING) else "c1"


async def restart_armed(stage: Stage, point: str, action: str, turn: int) -> str:
    """The node is started anew with the failpoint, before the load begins."""
    system, name = stage.system, place(stage, point)
    await system.stop(name)
    system.environ[name] = {"callboard_test_failpoints": f"{point}={action}@{turn}"}
    await system.start(name)
    del system.environ[name]
    stage.memory["pids"] = system.pids(name)
    if name == "c1":  # its workers went to the other one; the armed one must have them all
        await system.stop("c2")

    async def there_or_dead() -> bool:
        return not system.alive(name) or len(await system.linked()) == system.layout.workers

    await system.when(there_or_dead, "the workers are linked, or the node has ended")
    return name


def enter(point: str, action: str) -> None:
    ends = action == "exit" or (point, action) in ENDS

    async def prepare(stage: Stage) -> None:
        turn = stage.random.randint(1, 3) if point in LEAVING or "sign_in" in point else stage.random.randint(2, 12)
        stage.memory["armed"] = await restart_armed(stage, point, action, 1 if point in LEAVING else turn)

    async def hit(stage: Stage) -> None:
        name = stage.memory["armed"]
        if point in LEAVING:
            stage.system.nodes[name].process.terminate()
            stage.system.stopping.add(name)
        if point == "sign_in.after_commit":
            stage.system.links[name].reset()
        if ends:
            await stage.nemesis.dies(name, stage.memory["pids"])
            stage.memory["killed"] = [name, *(["c2"] if name == "c1" else [])]
            return
        fault = stage.nemesis.on("other", name)
        log = next(stage.system.history.glob(f"{name}.*.{stage.system.lives[name]}.jsonl"))
        await stage.system.when(lambda: '"failpoint"' in log.read_text(), f"{point} was passed", 20)
        stage.nemesis.took(fault, f"{point}: {action}")
        stage.nemesis.off(name)

    word = action.partition(":")[0]
    scenario(
        f"P13.{point}.{word}", f"A node ends, fails or waits at a named point of the protocol: {point}, {action}",
        group="A", prepare=prepare, heal=killed_are_back,
        layout=SMALL, mix=LOAD, fault_at=0.5, lossy=True, overlap="0" if ends else "any",
    )(hit)  # fmt: skip


for _point in (*FRONT, *WORKER, *COORDINATOR):
    for _action in ("exit", "raise", "sleep:2.5"):
        enter(_point, _action)
for _point in LEAVING:
    enter(_point, "exit")
