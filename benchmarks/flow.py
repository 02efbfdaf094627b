"""Many tasks at once, limits and graphs, of the whole system: `python -m benchmarks.flow [bulk|limits|graph|prune] …`.

`bulk`: one Python client posts 100,000 tasks, counts and cancels them, and retries 20,000. `limits`: no-op tasks
through a queue without limits, through one with a concurrency beyond what the workers have, through one with turns of
a hundred keys, and 20 at once. `graph`: a workflow of 10,000 tasks in a hundred layers, each task after three others,
to its end. `prune`: the rate of no-op tasks while 300,000 finished ones are pruned, beside the rate without. Compare
the numbers of one run with each other.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.system import System, running, wait_for
from callboard import Client

COUNT, MANY, WORKERS = 20_000, 100_000, 2


def timed(work: Any) -> float:
    began = time.monotonic()
    work()
    return round(time.monotonic() - began, 2)


def bulk(system: System) -> dict[str, Any]:
    with Client(system.url) as client:
        found: dict[str, Any] = {
            "post_100k_s": timed(lambda: client.submit_many({"name": "later", "delay": 3600} for _ in range(MANY))),
            "count_s": timed(lambda: client.cancel_many(name="later", dry_run=True)),
            "cancel_100k_s": timed(lambda: client.cancel_many(name="later")),
        }
        system.sql("ANALYZE callboard_tasks")
        ids = [str(row["id"]) for row in system.sql("SELECT id FROM callboard_tasks ORDER BY id LIMIT 20000")]
        found["retry_20k_s"] = timed(lambda: client.retry_many(ids))
        client.cancel_many(name="later")
    return found


def drain(system: System, count: int = COUNT, keys: int = 0) -> int:
    """Tasks a second, from resuming the workers to the last completion."""
    system.pause()
    for start in range(0, count, 10_000):
        batch = [
            {"name": "noop", **({"concurrency_key": str(number % keys)} if keys else {})}
            for number in range(start, min(count, start + 10_000))
        ]
        system.http.post("/tasks/batch", json=batch).raise_for_status()
    system.sql("VACUUM ANALYZE callboard_tasks")
    began = time.monotonic()
    system.steer("resume")
    waiting = (
        "SELECT count(*) AS n FROM callboard_tasks WHERE state IN ('queued', 'assigned', 'running') AND run_at <= now()"
    )
    wait_for(lambda: system.sql(waiting)[0]["n"] == 0, 120, every=0.05)
    return round(count / (time.monotonic() - began))


def limits(system: System) -> dict[str, Any]:
    found = {"none": drain(system)}
    system.http.patch("/queues/default", json={"concurrency": 100_000}).raise_for_status()
    found["concurrency"] = drain(system)
    system.http.patch("/queues/default", json={"concurrency_per_key": 1_000}).raise_for_status()
    found["turns_of_100_keys"] = drain(system, keys=100)
    system.http.patch("/queues/default", json={"concurrency": 20, "concurrency_per_key": None}).raise_for_status()
    found["at_most_20"] = drain(system, 5_000)
    system.http.patch("/queues/default", json={"concurrency": None}).raise_for_status()
    return found


def graph(system: System) -> dict[str, Any]:
    """A hundred layers of a hundred tasks, each of which depends on three of the layer before."""
    tasks = [
        {
            "ref": f"{layer}.{place}", "name": "noop",
            "depends_on": [f"{layer - 1}.{(place + step) % 100}" for step in (0, 1, 7)] if layer else [],
        }
        for layer in range(100) for place in range(100)
    ]  # fmt: skip
    with Client(system.url) as client:
        began = time.monotonic()
        posted = client.workflows.submit(tasks)
        at = round(time.monotonic() - began, 2)
        done = client.workflows.wait(posted["id"], timeout=120)
        return {"posted_s": at, "done_s": round(time.monotonic() - began, 2), "counts": done["counts"]}


def prune(system: System) -> dict[str, Any]:
    alone = drain(system)
    system.sql(
        "INSERT INTO callboard_tasks (lane_id, state, finished_at, result) SELECT "
        "(SELECT min(id) FROM callboard_lanes), 'succeeded', now() - interval '8 days', '{\"x\": 1}'"
        " FROM generate_series(1, 300000)"
    )
    old = "SELECT count(*) AS n FROM callboard_tasks WHERE finished_at < now() - interval '7 days'"
    wait_for(lambda: system.sql(old)[0]["n"] < 300_000, 30, every=0.2)
    before, began = system.sql(old)[0]["n"], time.monotonic()
    beside = drain(system)
    after, took = system.sql(old)[0]["n"], time.monotonic() - began
    return {
        "alone": alone,
        "beside": beside,
        "ratio": round(beside / alone, 2),
        "pruned_per_s": round((before - after) / took),
    }


PARTS = {"bulk": bulk, "limits": limits, "graph": graph, "prune": prune}


def main() -> None:
    for name in sys.argv[1:] or PARTS:
        with running(WORKERS) as system:
            print(json.dumps({name: PARTS[name](system)}), flush=True)


if __name__ == "__main__":
    main()
