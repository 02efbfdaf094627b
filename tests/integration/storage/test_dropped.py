"""A connection is dropped under a statement, at its deadline: the driver has forgotten it, and nobody else minds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.model.errors import StorageTimeout, StorageUnavailable
from storage.connect import Connection
from storage.pool import Pool, open_pool
from storage.url import parse_url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(parse_url(database_url), name="test", size=2, statement_limit=2.0) as opened:
        yield opened


async def dropped_between_two_steps(connection: Connection) -> None:
    """As asyncpg fails when a connection goes between the preparation and the execution of a statement."""
    connection.terminate()
    connection._protocol.bind_execute()  # type: ignore[attr-defined]


async def test_the_work_on_it_fails_as_on_any_lost_connection(pool: Pool) -> None:
    with pytest.raises(StorageUnavailable):
        await pool.run(dropped_between_two_steps)
    with pytest.raises(StorageTimeout):  # it may have had its effect
        await pool.run(dropped_between_two_steps, repeatable=lambda: False)
    assert [row[0] for row in await pool.fetch("SELECT 1")] == [1]


async def test_a_mistake_of_ours_is_no_lost_connection(pool: Pool) -> None:
    async def wrong(connection: Connection) -> None:
        connection.no_such_thing  # type: ignore[attr-defined]  # noqa: B018

    with pytest.raises(AttributeError):
        await pool.run(wrong)


async def test_the_pool_still_knows_which_connections_are_its_own(pool: Pool) -> None:
    async def look(connection: Connection) -> int:
        pid = connection.get_server_pid()
        assert pool.owns(pid)
        connection.terminate()
        assert not pool.owns(pid)
        return pid

    assert await pool.run(look) > 0
