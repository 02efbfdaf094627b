"""Group A: processes die, freeze and come back."""

from __future__ import annotations

from tests.system.bench.scenario import Stage, scenario

GROUP = "A"


async def struck_is_back(stage: Stage) -> None:
    """Whoever was killed is started again."""
    await stage.nemesis.back(*stage.memory.pop("killed", ()))


@scenario(
    "P01", "A worker node is killed while it works", group=GROUP, heal=struck_is_back,
    shapes=("once", "permanent", "repeated"), lossy=True,
)  # fmt: skip
async def p01(stage: Stage) -> None:
    victim = await stage.worker_at_work()
    stage.memory["killed"] = [victim]
    await stage.nemesis.kill(victim)
