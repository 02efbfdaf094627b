"""The supervisor restarts what crashes, within limits, and never hides a crash."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from actors.model.errors import RestartLimitReached
from actors.runtime.supervisor import RestartPolicy, keep_running
from actors.runtime.tree import TreeNode


async def test_a_crash_is_followed_by_a_restart_and_shown(autojump_clock: Any) -> None:
    node, runs = TreeNode("leaf"), 0

    async def flaky(*, task_status: trio.TaskStatus[Any]) -> None:
        nonlocal runs
        runs += 1
        task_status.started()
        if runs == 1:
            raise ValueError("once")
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(keep_running, "leaf", flaky, RestartPolicy(), node=node))
        await trio.sleep(5)
        shown = node.as_json()
        assert runs == 2
        assert shown["state"] == "running"
        assert shown["restarts_total"] == 1
        assert "once" in shown["last_error"]
        nursery.cancel_scope.cancel()


async def test_more_crashes_than_the_intensity_give_up(autojump_clock: Any) -> None:
    runs = 0

    async def boom(*, task_status: trio.TaskStatus[Any]) -> None:
        nonlocal runs
        runs += 1
        task_status.started()
        await trio.sleep(0.01)
        raise ValueError("always")

    with pytest.RaisesGroup(RestartLimitReached):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running, "boom", boom, RestartPolicy(intensity=3, period=60))
    assert runs == 4


async def test_rare_crashes_never_give_up(autojump_clock: Any) -> None:
    runs = 0

    async def boom(*, task_status: trio.TaskStatus[Any]) -> None:
        nonlocal runs
        runs += 1
        task_status.started()
        await trio.sleep(20)
        if runs < 10:
            raise ValueError("slowly")

    await keep_running("boom", boom, RestartPolicy(intensity=2, period=30))
    assert runs == 10


async def test_an_error_before_started_counts_as_a_crash(autojump_clock: Any) -> None:
    runs = 0

    async def refuses(*, task_status: trio.TaskStatus[Any]) -> None:
        nonlocal runs
        runs += 1
        raise OSError("no port")

    with pytest.raises(RestartLimitReached, match="no port"):
        await keep_running("refuses", refuses, RestartPolicy(intensity=2))
    assert runs == 3
