"""The loop that every test of this room runs in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.runtime.aio import open_loop


@pytest.fixture
async def loop() -> AsyncIterator[None]:
    async with open_loop():
        yield
