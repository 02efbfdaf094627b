"""Speed of the whole system on this machine: `python -m benchmarks.speed [drain|latency|idle|backlog] …`.

Everything runs here at once: PostgreSQL at its durable defaults, the server node, worker nodes, executors. The
numbers of one run can be compared with each other; those of two machines, or of two days, can't.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.system import System, running, wait_for

COUNT, RUNS, WORKERS = 50_000, 3, 2


def drain(system: System, count: int = COUNT) -> dict[str, Any]:
    """A backlog of no-op tasks: from the moment the workers may start to the last durable completion."""
    system.pause()
    began = time.monotonic()
    system.post("noop", count)
    posted = count / (time.monotonic() - began)
    first = system.sql("SELECT max(id) - $1::int AS id FROM callboard_tasks", count)[0]["id"]
    system.sql("VACUUM ANALYZE callboard_tasks")
    before, cpu = commits(system), system.cpu()
    opened = system.sql("SELECT clock_timestamp() AS at")[0]["at"]
    system.steer("resume")
    wait_for(lambda: left(system, first) == 0, 120, every=0.1)
    spent = {kind: seconds - cpu.get(kind, 0.0) for kind, seconds in system.cpu().items()}
    row = system.sql(
        "SELECT extract(epoch FROM max(finished_at) - $1::timestamptz)::float8 AS all,"
        " extract(epoch FROM max(finished_at) - min(assigned_at))::float8 AS busy,"
        " count(*) FILTER (WHERE state = 'succeeded' AND attempt = 1)::int AS once,"
        " count(DISTINCT session_id)::int AS workers FROM callboard_tasks WHERE id > $2",
        opened,
        first,
    )[0]
    return {
        "tasks_per_s": round(count / row["all"]),
        "tasks_per_s_from_first_claim": round(count / row["busy"]),
        "posted_per_s": round(posted),
        "succeeded_at_first_attempt": row["once"],
        "commits_per_1000_tasks": round((commits(system) - before) / count * 1000, 1),
        "cpu_us_per_task": {kind: round(seconds / count * 1e6, 1) for kind, seconds in spent.items()},
    }


def left(system: System, after: int) -> int:
    query = (
        "SELECT count(*)::int AS n FROM callboard_tasks WHERE state IN ('queued', 'assigned', 'running') AND id > $1"
    )
    return int(system.sql(query, after)[0]["n"])


def commits(system: System) -> int:
    query = "SELECT xact_commit::bigint AS n FROM pg_stat_database WHERE datname = current_database()"
    return int(system.sql(query)[0]["n"])


def latency(system: System, count: int = 200, rate: float = 20.0) -> dict[str, Any]:
    """An idle system gets one task at a time: from just before the submission to the handler's first line.

    Over http.client: httpx, which the Python client uses, takes about 1 ms more when it has been idle.
    """
    out = system.folder / "out"
    out.unlink(missing_ok=True)
    time.sleep(2)
    api = urlsplit(system.url)
    connection = http.client.HTTPConnection(str(api.hostname), api.port)
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        body = json.dumps({"name": "stamp", "args": {"sent": time.time()}})
        connection.request("POST", "/api/v1/tasks", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 201:
            raise RuntimeError(answer.read())
        answer.read()
    connection.close()
    wait_for(lambda: out.exists() and len(out.read_text().splitlines()) == count, 10)
    values = sorted(float(line) * 1000 for line in out.read_text().splitlines())
    return {
        "p50_ms": round(statistics.median(values), 2),
        "p95_ms": round(values[int(0.95 * count)], 2),
        "max_ms": round(values[-1], 2),
    }


def idle(system: System, seconds: float = 30.0) -> dict[str, Any]:
    """Nothing to do: CPU of everything as a share of one core, and transactions a second."""
    time.sleep(10)
    before, cpu, began = commits(system), system.cpu(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    spent = {kind: round((now - cpu.get(kind, 0.0)) / took * 100, 2) for kind, now in system.cpu().items()}
    return {
        "cpu_percent_of_a_core": round(sum(spent.values()), 2),
        "by_kind": spent,
        "transactions_per_s": round((commits(system) - before - 1) / took, 2),
        "memory_mib": {kind: round(size) for kind, size in system.memory().items()},
    }


def backlog(system: System, waiting: int = 1_000_000) -> dict[str, Any]:
    """The same drain beside an empty table, and beside a million waiting tasks of a handler that nobody knows."""
    drain_beside(system, 20_000)  # everything is warm
    empty = drain_beside(system, 20_000)
    system.sql(
        "WITH lane AS (INSERT INTO callboard_lanes (name) VALUES ('unknown') RETURNING id)"
        " INSERT INTO callboard_tasks (lane_id) SELECT id FROM lane, generate_series(1, $1::int)",
        waiting,
    )
    system.sql("VACUUM ANALYZE callboard_tasks")
    full = drain_beside(system, 20_000)
    return {"empty": empty, "beside_a_million": full, "ratio": round(full / empty, 2)}


def drain_beside(system: System, count: int) -> int:
    """As `drain`, counting its own tasks only."""
    system.pause()
    first = system.sql("SELECT coalesce(max(id), 0) AS id FROM callboard_tasks")[0]["id"]
    system.post("noop", count)
    opened = time.monotonic()
    system.steer("resume")
    wait_for(lambda: left(system, first) == 0, 120, every=0.05)
    return round(count / (time.monotonic() - opened))


SCENARIOS = {"drain": drain, "latency": latency, "idle": idle, "backlog": backlog}


def main(names: list[str]) -> None:
    for name in names or list(SCENARIOS):
        found = []
        for _ in range(RUNS if name in ("drain", "latency") else 1):
            with running(WORKERS, ["--executors", "1"]) as system:
                found.append(SCENARIOS[name](system))
                print(json.dumps({name: found[-1]}), flush=True)
        if len(found) > 1:
            keys = [key for key, value in found[0].items() if isinstance(value, int | float)]
            print(
                json.dumps(
                    {name: {key: statistics.median(one[key] for one in found) for key in keys}, "median of": RUNS}
                )
            )


if __name__ == "__main__":
    main(sys.argv[1:])
