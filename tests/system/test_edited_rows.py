"""Rows that somebody changed by hand: each is set aside with an error, and everything else goes on."""

from __future__ import annotations

import pytest
import trio

from storage.url import parse_url
from tests.support.bench import Database
from tests.support.cluster import Cluster

EDITS = {
    "text": """args = '"text"'""",
    "list": "args = '[1, 2]'",
    "large": "args = jsonb_build_object('n', repeat('x', 2000000))",
    "attempt": "attempt = -5",
    "timeout": "timeout = 'Infinity'",
    "nan": "timeout = 'NaN'",
    "lane": "lane_id = 2000000000",
    "backoff": """backoff = '{"kind": 7, "cap": null}', max_tries = 2, args = '{"n": "not a number"}'""",
    "past": "run_at = '-infinity'",
}


@pytest.mark.faults
async def test_rows_that_were_edited_by_hand_hold_nobody_up(cluster: Cluster) -> None:
    await cluster.server()
    database = Database(parse_url(cluster.database_url))
    await database.open()
    tasks = {name: await cluster.submit("quick", n=1) for name in EDITS}
    await database.execute("ALTER TABLE callboard_tasks DISABLE TRIGGER USER")
    for name, edit in EDITS.items():
        await database.execute(f"UPDATE callboard_tasks SET {edit} WHERE id = $1", tasks[name])
    await database.execute("ALTER TABLE callboard_tasks ENABLE TRIGGER USER")
    others = await cluster.batch([{"name": "quick", "args": {"n": 2}} for _ in range(50)])
    await cluster.worker("w", cluster.nodes["server"])
    for task in others:
        assert (await cluster.final(task, 40))["state"] == "succeeded"
    states = {}
    with trio.fail_after(40):
        for name in tasks.keys() - {"lane"}:
            states[name] = (await cluster.final(tasks[name], 40))["state"]
    assert states == {
        "text": "failed", "list": "failed", "large": "quarantined", "attempt": "succeeded", "timeout": "succeeded",
        "nan": "succeeded", "backoff": "failed", "past": "succeeded",
    }  # fmt: skip
    row = await database.row("SELECT state, error FROM callboard_tasks WHERE id = $1", tasks["large"])
    assert "can't travel" in row["error"]
    more = await cluster.submit("quick", n=3)
    assert (await cluster.final(more))["state"] == "succeeded"
    assert cluster.nodes["server"].process.poll() is None
    assert len(await cluster.workers()) == 1
    database.close()
