"""A database whose disk is full: nothing new starts, what runs goes on, and it all continues by itself."""

from __future__ import annotations

import pytest
import trio

from storage.url import parse_url
from tests.support.bench import Database
from tests.support.cluster import Cluster

FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON callboard_tasks FOR EACH ROW EXECUTE FUNCTION full_disk()
"""


@pytest.mark.faults
async def test_a_full_disk_stops_what_is_new_and_loses_nothing_that_runs(cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    running = await cluster.submit("nap", seconds=1)
    await cluster.until_started([running])
    waiting = await cluster.submit("quick", n=1)
    await cluster.final(waiting)
    database = Database(parse_url(cluster.database_url))
    await database.open()
    await database.execute(FULL)
    refused = await cluster.http.post("tasks", json={"name": "quick"})
    assert refused.status_code == 503
    with trio.fail_after(10):
        while not cluster.events("end"):
            await trio.sleep(0.05)
    await trio.sleep(4)  # longer than a lease of this profile: its outcome waits
    health = (await cluster.http.get(f"http://127.0.0.1:{server.ready['http']}/healthz")).json()
    assert health["status"] == "degraded"
    assert "disk is full" in health["checks"]["database_writes"]["detail"]
    assert (await cluster.http.get(f"http://127.0.0.1:{server.ready['http']}/readyz")).status_code == 200
    [worker] = await cluster.workers()
    assert (await cluster.task(running))["state"] in ("assigned", "running")
    await database.execute("DROP TRIGGER full_disk ON callboard_tasks")
    database.close()
    more = await cluster.submit("quick", n=2)
    for task in (running, more):
        found = await cluster.final(task)
        assert (found["state"], found["attempt"], found["worker"]) == ("succeeded", 1, worker["id"])
