"""`callboard drill` on real processes: it strikes what it was told to, tells what came of it, leaves nothing frozen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from api.settings_keys import BY_VARIABLE
from callboard.launcher import command
from tests.support.cluster import Cluster, Node, open_cluster

LIMIT = 45.0


@pytest.fixture
async def cluster(tmp_path: Path, database_url: str) -> AsyncIterator[Cluster]:
    """Its nodes are killed at the end: nobody waits for the long tasks of these tests."""
    async with open_cluster(tmp_path, database_url) as opened:
        yield opened
        for node in opened.nodes.values():
            if node.process.poll() is None:
                node.kill()


def line(cluster: Cluster, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command line and its environment, which holds nothing of the tester's."""
    environ = {name: value for name, value in os.environ.items() if name not in BY_VARIABLE}
    environ |= {"CALLBOARD_ENV_FILE": "", "CALLBOARD_CONFIG": ""}
    url = str(cluster.http.base_url).removesuffix("/api/v1/")
    return command("drill", *arguments, "--url", url), environ


async def drill(cluster: Cluster, *arguments: str) -> tuple[int, str, str]:
    """Runs it to its end: exit code, stdout, stderr."""
    words, environ = line(cluster, *arguments)
    with trio.fail_after(LIMIT):
        done = await trio.run_process(
            words, env=environ, cwd=cluster.folder, stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True,
            check=False,
        )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def judged(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """The facts of a drill that was within its bounds."""
    code, out, errors = await drill(cluster, *arguments, "--yes", "--output", "json")
    assert code == 0, out + errors
    facts: dict[str, Any] = json.loads(out)
    return facts


async def two_workers(cluster: Cluster, tasks: int = 2) -> tuple[Node, Node, list[int]]:
    """The first one holds long tasks; the second one came later and has room."""
    server = await cluster.server()
    victim = await cluster.worker("victim", server)
    held = [await cluster.submit("nap", seconds=40) for _ in range(tasks)]
    await cluster.until_started(held)
    other = await cluster.worker("other", server)
    await cluster.until_workers(2)
    return victim, other, held


async def until_told(cluster: Cluster, count: int) -> None:
    """The workers' processes are known from their heartbeats."""
    with trio.fail_after(10):
        while sum("process" in one["health"] for one in await cluster.workers()) < count:
            await trio.sleep(0.05)


async def test_a_drill_kills_a_worker_and_sees_its_tasks_begin_again(cluster: Cluster) -> None:
    victim, _, held = await two_workers(cluster)
    await until_told(cluster, 2)
    facts = await judged(cluster, "worker")
    assert (facts["drill"], facts["target"]) == ("kill worker", "victim")
    assert (facts["tasks"], facts["repeated"], facts["lost"]) == (2, 2, 0)
    with trio.fail_after(2):
        assert await victim.process.wait() == -signal.SIGKILL
    for task in held:
        assert (await cluster.task(task))["attempt"] == 2


async def test_a_drill_freezes_a_worker_and_unfreezes_it(cluster: Cluster) -> None:
    victim, _, _ = await two_workers(cluster)
    await until_told(cluster, 2)
    facts = await judged(cluster, "worker", "victim", "--freeze")
    assert facts["unfrozen"]
    assert (facts["repeated"], facts["lost"], facts["late_outcomes_refused"]) == (2, 0, 2)
    assert facts["returned_after"] is not None
    assert psutil.Process(victim.pid).status() != psutil.STATUS_STOPPED
    await cluster.until_workers(2)


async def test_an_interrupted_drill_leaves_nothing_frozen(cluster: Cluster) -> None:
    victim, _, _ = await two_workers(cluster)
    await until_told(cluster, 2)
    everybody = [psutil.Process(victim.pid), *victim.executors()]
    words, environ = line(cluster, "worker", "victim", "--freeze", "--yes")
    process = await trio.lowlevel.open_process(words, env=environ, cwd=cluster.folder, stdout=subprocess.DEVNULL)
    with trio.fail_after(LIMIT):
        while not all(one.status() == psutil.STATUS_STOPPED for one in everybody):
            await trio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 128 + signal.SIGINT
    assert all(one.status() != psutil.STATUS_STOPPED for one in everybody)


async def test_a_drill_kills_a_coordinator_and_sees_nothing_repeated(cluster: Cluster) -> None:
    cluster.profile = "fast"
    await cluster.server("front", "scheduler,api")
    second = await cluster.server("second", "coordinator")
    first = await cluster.server("first", "coordinator")
    await cluster.worker("w", first)
    await cluster.until_workers(1)
    task = await cluster.submit("nap", seconds=40)
    await cluster.until_started([task])
    facts = await judged(cluster, "coordinator", first.ready["node"])
    assert (facts["undisturbed"], facts["repeated"], facts["lost"]) == (1, 0, 0)
    assert first.process.poll() == -signal.SIGKILL
    assert second.process.poll() is None
    assert (await cluster.task(task))["attempt"] == 1


@pytest.mark.bad_input("CL20")
async def test_a_drill_refuses_what_would_end_the_work_and_asks_before_it_strikes(cluster: Cluster) -> None:
    server = await cluster.server()
    worker = await cluster.worker("only", server)
    await cluster.until_workers(1)
    await until_told(cluster, 1)
    code, _, said = await drill(cluster, "worker", "--yes")
    assert (code, "no task runs" in said) == (75, True)
    await cluster.until_started([await cluster.submit("nap", seconds=40)])
    code, _, said = await drill(cluster, "worker", "--yes")
    assert (code, "the only worker" in said) == (77, True), said
    code, _, said = await drill(cluster, "coordinator", "--yes")
    assert (code, "nothing known here starts it again" in said) == (77, True), said
    code, plan, said = await drill(cluster, "worker", "--force")
    assert (code, "pass --yes" in said) == (2, True), said
    assert f"SIGKILL to process {worker.pid}" in plan
    assert len(await cluster.workers()) == 1
    assert worker.process.poll() is None
