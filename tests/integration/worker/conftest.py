"""A crew with real executors."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from actors.runtime.periodic import boottime
from actors.runtime.tree import TreeNode
from actors.worker.child import ChildProcess, launch
from actors.worker.crew import Crew
from actors.worker.limits import Limits
from callboard.executor.start import command, environment
from tests.support.worker import Notes

APP = str(Path(__file__).with_name("app.py"))
Open = Callable[..., AbstractAsyncContextManager[tuple[Crew, Notes]]]


async def start() -> ChildProcess:
    return await launch(command, environment(os.environ))


@pytest.fixture
def open_crew() -> Open:
    @asynccontextmanager
    async def crew_of(
        *, slots: int = 2, executors: int = 1, app: str = APP, limits: Limits | None = None
    ) -> AsyncIterator[tuple[Crew, Notes]]:
        crew = Crew(
            apps=[app],
            slots=slots,
            executors=executors,
            launch=start,
            limits=limits or Limits(cancel_grace=0.3, lease_grace=0.2),
            node=TreeNode("worker"),
        )
        notes = crew.listener = Notes()
        async with trio.open_nursery() as nursery:
            with trio.fail_after(20):
                await nursery.start(crew.run)
                crew.set_deadline(boottime() + 60)
                yield crew, notes
            nursery.cancel_scope.cancel()

    return crew_of
