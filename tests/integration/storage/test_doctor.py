"""What a node looks at before it uses a database, and what it says of it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.model.errors import StorageRefused, StorageUnavailable
from storage.doctor import LEAST_NODES, NODE_CONNECTIONS, Finding, examine, examine_server, judge, refuse
from storage.migrate import migrate, migrations, pending
from storage.store import CONNECTIONS
from storage.url import parse_url
from tests.support.bench import Database
from tests.support.postgres import Server

FIT: dict[str, Any] = {
    "standby": False, "read_only": False, "version": "16.1", "synchronous_commit": "on", "fsync": True,
    "full_page_writes": True, "connections": 97,
}  # fmt: skip


def status(**facts: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in judge({**FIT, **facts}):
        found.setdefault(one.check, []).append(one.status)
        assert (one.status == "ok") is not bool(one.way_out)
    return found


def test_a_fit_server_is_fit() -> None:
    assert status() == {"writes": ["ok"], "durability": ["ok"], "connections": ["ok"]}
    refuse(judge(FIT))


@pytest.mark.parametrize("facts", [{"standby": True}, {"read_only": True}])
def test_what_takes_no_writes_is_refused(facts: dict[str, Any]) -> None:
    assert status(**facts)["writes"] == ["refused"]
    with pytest.raises(StorageRefused, match=r"standby|read-only"):
        refuse(judge({**FIT, **facts}))


def test_what_may_lose_commits_is_warned_of_or_refused() -> None:
    assert status(fsync=False, full_page_writes=False)["durability"] == ["warning", "warning"]
    assert status(synchronous_commit="off")["durability"] == ["refused"]
    assert status(synchronous_commit="remote_apply")["durability"] == ["ok"]


def test_little_room_is_warned_of() -> None:
    assert NODE_CONNECTIONS == CONNECTIONS + 1
    assert status(connections=LEAST_NODES * NODE_CONNECTIONS)["connections"] == ["ok"]
    assert status(connections=LEAST_NODES * NODE_CONNECTIONS - 1)["connections"] == ["warning"]


def found(findings: list[Finding]) -> dict[str, str]:
    return {one.check: one.status for one in findings}


async def test_a_real_server_is_examined_whole(database_url: str) -> None:
    url = parse_url(database_url)
    assert found(await examine(url, url)) == {
        "connection": "ok", "writes": "ok", "durability": "warning", "connections": "ok", "schema": "ok",
        "notifications": "ok",
    }  # fmt: skip


async def test_a_schema_that_lacks_migrations_and_a_pooler_are_told(empty_url: str, loop: None) -> None:
    url = parse_url(empty_url)
    findings = {one.check: one for one in await examine(url, None)}
    assert (findings["schema"].status, findings["notifications"].status) == ("warning", "warning")
    assert "callboard db migrate" in findings["schema"].way_out
    assert "CALLBOARD_DIRECT_URL" in findings["notifications"].way_out


async def test_a_server_that_is_not_there_is_one_finding(loop: None) -> None:
    url = parse_url("postgresql://u@127.0.0.1:1/x")
    [one] = await examine(url, url)
    assert (one.check, one.status) == ("connection", "refused")
    assert "start PostgreSQL" in str(one)
    with pytest.raises(StorageUnavailable):
        await examine_server(url)


async def test_a_read_only_database_is_refused(postgres_server: Server, database_url: str, database: Database) -> None:
    name = await database.value("SELECT quote_ident(current_user)")
    await database.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on")
    try:
        with pytest.raises(StorageRefused, match="RESET default_transaction_read_only"):
            refuse(await examine_server(parse_url(database_url)))
    finally:
        await database.execute(f"ALTER ROLE {name} RESET default_transaction_read_only")


@pytest.mark.parametrize(("oldest", "fits"), [("0", True), ("NULL", False), ("9999", False)])
async def test_a_newer_schema_fits_when_it_says_so(
    database_url: str, database: Database, oldest: str, fits: bool
) -> None:
    """The schema is upgraded first: programs of the release before must run, and start, on it."""
    last = oldest if oldest != "0" else str(migrations()[-1].number)
    await database.execute(
        f"INSERT INTO callboard_migrations (number, name, checksum, oldest) VALUES (9999, 'future', 'x', {last})"
    )
    for call in (migrate, pending):
        if fits:
            assert await call(parse_url(database_url)) == []
        else:
            with pytest.raises(StorageRefused, match="migration 9999"):
                await call(parse_url(database_url))
