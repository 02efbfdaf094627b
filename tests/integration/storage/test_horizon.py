"""Who keeps PostgreSQL from clearing dead rows away is found."""

from __future__ import annotations

import pytest

from storage.store import Store
from tests.support.bench import Database


@pytest.mark.parametrize("kind", ["REPEATABLE READ", "READ COMMITTED"])
async def test_an_old_snapshot_is_found_by_its_session(store: Store, database: Database, kind: str) -> None:
    await database.execute(f"SET application_name = 'the rival'; BEGIN ISOLATION LEVEL {kind}; SELECT txid_current()")
    found = await store.oldest_snapshot()
    assert found is not None
    who, age = found
    pid = await database.value("SELECT pg_backend_pid()")
    assert who == f"session {pid} (the rival, idle in transaction)"
    assert 0 <= age < 60
    await database.execute("ROLLBACK")
    after = await store.oldest_snapshot()
    assert after is None or "the rival" not in after[0]


async def test_an_idle_transaction_without_a_snapshot_holds_nothing(store: Store, database: Database) -> None:
    await database.execute("SET application_name = 'harmless'; BEGIN; SELECT 1")
    found = await store.oldest_snapshot()
    assert found is None or "harmless" not in found[0]
