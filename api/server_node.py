"""A server node: storage, scheduler, coordinator, gRPC and HTTP, each under its supervisor."""

from __future__ import annotations

import logging

import trio

from actors.coordinator.tree import Coordinator
from actors.model.errors import ConfigurationError
from actors.model.link import CoordinatorEnd
from actors.runtime.supervisor import RestartPolicy
from api.settings import Settings
from storage.embedded import running_url

log = logging.getLogger(__name__)

BRANCH = RestartPolicy(intensity=3, period=60)
STOP_LIMIT = 5.0  # seconds that a coordinator gets to flush outcomes


def database_url(settings: Settings) -> str:
    """The given database, else the running embedded one; raises ConfigurationError with the way out."""
    url = settings.database_url or running_url(settings.data)
    if url is None:
        raise ConfigurationError(
            [
                f"DATABASE_URL is not set and no database runs in {settings.data}: set DATABASE_URL, "
                "or start one with `callboard up`, which brings its own"
            ]
        )
    return url


class Stand:
    """Lets the gRPC server bind first: links wait until the coordinator exists."""

    def __init__(self) -> None:
        self._coordinator: Coordinator | None = None
        self._there = trio.Event()

    def take(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._there.set()

    async def serve_link(self, end: CoordinatorEnd) -> None:
        await self._there.wait()
        assert self._coordinator is not None
        await self._coordinator.serve_link(end)
