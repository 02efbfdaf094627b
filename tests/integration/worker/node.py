"""A node with two executors and nothing else; says their pids and waits to be killed."""

from __future__ import annotations

import os
import sys

import trio

from actors.runtime.periodic import boottime
from actors.runtime.tree import TreeNode
from actors.worker.child import ChildProcess, launch
from actors.worker.crew import Crew
from actors.worker.limits import Limits
from callboard.executor.start import command, environment
from tests.support.worker import an_assignment


async def start() -> ChildProcess:
    return await launch(command, environment(os.environ))


async def main() -> None:
    crew = Crew(apps=[sys.argv[1]], slots=2, executors=2, launch=start, limits=Limits(), node=TreeNode("worker"))
    async with trio.open_nursery() as nursery:
        await nursery.start(crew.run)
        crew.set_deadline(boottime() + 60)
        crew.assign(an_assignment(1, name="spin", args=b'{"seconds": 60}'))
        await trio.sleep(0.3)
        print(*[executor.pid for executor in crew.executors], flush=True)


trio.run(main)
