"""Group C: a pooler stands between the nodes and PostgreSQL."""

from __future__ import annotations

from storage.doctor import examine
from storage.url import parse_url
from tests.system.bench import pooler
from tests.system.bench.pooler import Pooler
from tests.system.bench.scenario import Stage, scenario
from tests.system.bench.system import Layout
from tests.system.scenarios.processes import nobody_was_convicted


async def through_a_pooler(stage: Stage) -> None:
    stage.memory["pooler"] = between = Pooler(stage.system.server)
    stage.system.at_the_end.push_async_callback(between.close)
    await between.start()
    for proxy in stage.system.databases.values():
        proxy.server = between.socket


async def the_doctor_knows(stage: Stage) -> None:
    """What it says of the same address with, and without, the word that there is a pooler."""
    between: Pooler = stage.memory["pooler"]
    url = stage.system.url.replace(str(stage.system.server.folder), str(between.folder))
    said = {one.check: one for one in await examine(parse_url(url), parse_url(url))}
    assert said["connection"].status == "refused", f"V17: {said}"
    assert "pgbouncer=true" in str(said["connection"]), f"V17: no way out: {said['connection']}"
    told = {one.check: one for one in await examine(parse_url(f"{url}&pgbouncer=true"), None)}
    assert told["notifications"].status == "warning", f"V17: {told}"
    assert "CALLBOARD_DIRECT_URL" in told["notifications"].way_out, f"V17: {told}"
    assert {one.status for name, one in told.items() if name != "notifications"} <= {"ok", "warning"}, f"V17: {told}"


async def the_pooler_was_used(stage: Stage) -> None:
    await nobody_was_convicted(stage)
    await the_doctor_knows(stage)
    direct = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'callboard listener'"
    assert await stage.system.scalar(direct) == 0, "somebody listens through the pooler"


@scenario("P44", "Through a pooler that gives each transaction another connection, and that is killed once", group="C",
          needs=(pooler.missing,), no_repeats=True, before=through_a_pooler, final_within=60.0,
          layout=Layout(parameters="&pgbouncer=true"), hold=2.0,
          heal=lambda stage: pooler_is_back(stage), check=the_pooler_was_used)  # fmt: skip
async def p44(stage: Stage) -> None:
    between: Pooler = stage.memory["pooler"]
    fault = stage.nemesis.on("database", "pooler")
    await between.kill()
    stage.nemesis.took(fault, "its process is gone")


async def pooler_is_back(stage: Stage) -> None:
    await stage.memory["pooler"].start()
    stage.nemesis.off("pooler")
