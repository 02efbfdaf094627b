"""A cluster of real processes over a PostgreSQL of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, open_cluster
from tests.support.postgres import database_url, empty_url, loop, postgres_server

__all__ = ["cluster", "database_url", "empty_url", "loop", "postgres_server"]


@pytest.fixture
async def cluster(tmp_path: Path, database_url: str) -> AsyncIterator[Cluster]:
    async with open_cluster(tmp_path, database_url) as opened:
        yield opened
