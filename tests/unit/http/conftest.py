from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.fake_store import FakeStore, FakeWakeups
from tests.support.http_api import Api, open_api, services


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def wakeups() -> FakeWakeups:
    return FakeWakeups()


@pytest.fixture
async def api(store: FakeStore, wakeups: FakeWakeups) -> AsyncIterator[Api]:
    async with open_api(services(store, wakeups)) as one:
        yield one
