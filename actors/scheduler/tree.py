"""The scheduler's supervision tree."""

from __future__ import annotations

from typing import Any

import trio

from actors.runtime.supervisor import RestartPolicy, keep_running
from actors.runtime.tree import TreeNode
from actors.scheduler.cron import Cron
from actors.scheduler.intake import Intake
from actors.scheduler.janitor import Janitor
from actors.scheduler.resolver import Resolver
from actors.scheduler.statistics import Statistics

LEAF = RestartPolicy(intensity=5, period=30)


async def run_intake(intake: Intake, node: TreeNode, *, task_status: trio.TaskStatus[Any]) -> None:
    """Intake alone: what an api node without the scheduler role runs."""
    child = node.child("intake")
    child.depth = intake.address.depth
    await keep_running("intake", intake.run, LEAF, node=child, task_status=task_status)


async def run_scheduler(
    intake: Intake,
    janitor: Janitor,
    node: TreeNode,
    *,
    cron: Cron | None = None,
    resolver: Resolver | None = None,
    statistics: Statistics | None = None,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """One for one: none of them needs another."""
    async with trio.open_nursery() as nursery:
        await nursery.start(run_intake, intake, node)
        child = node.child("janitor")
        await nursery.start(_keep, "janitor", janitor, child)
        if cron is not None:
            await nursery.start(_keep, "cron", cron, node.child("cron"))
        if resolver is not None:
            await nursery.start(_keep, "resolver", resolver, node.child("resolver"))
        if statistics is not None:
            await nursery.start(_keep, "statistics", statistics, node.child("statistics"))
        node.enter("running")
        task_status.started()


async def _keep(
    name: str, actor: Janitor | Cron | Resolver | Statistics, child: TreeNode, *, task_status: trio.TaskStatus[Any]
) -> None:
    await keep_running(name, actor.run, LEAF, node=child, task_status=task_status)
