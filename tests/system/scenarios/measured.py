"""Group M: the promises in seconds, under the default terms. Repeated, so that there is a distribution."""

from __future__ import annotations

import signal
from functools import partial

from tests.system.bench.load import Mix
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import killed_are_back, nobody_was_convicted, p01, p03, p07, thawed

BUSY = Layout(profile="default", slots=10)
LONG = Mix(tasks=100, pace=8, long=8.0, shares={"medium": 0.2, "long": 0.15})
VERY_LONG = Mix(tasks=100, pace=15, long=25.0, shares={"medium": 0.2, "long": 0.03})
enter = partial(scenario, group="M", shapes=("repeated",), layout=BUSY, mix=LONG, final_within=90.0)

enter("M1", "A worker dies visibly", heal=killed_are_back, lossy=True, repeats=10, hold=5.0, calm=2.0, bound=4.5)(p01)
enter("M2", "A worker falls silent", heal=thawed, lossy=True, repeats=5, hold=18.0, calm=3.0, bound=15.5,
      overlap="pause:18")(p07)  # fmt: skip
enter("M3", "The coordinator that holds the streams dies", heal=killed_are_back, no_repeats=True, repeats=10, hold=3.0,
      calm=2.0, check=nobody_was_convicted)(p03)  # fmt: skip


@enter("M4", "PostgreSQL is restarted every 20 seconds for 3 minutes", no_repeats=True, repeats=9, hold=0.0, calm=20.0,
       check=nobody_was_convicted, mix=VERY_LONG)  # fmt: skip
async def m4(stage: Stage) -> None:
    await stage.nemesis.stop_database(signal.SIGINT)
    await stage.nemesis.start_database()
