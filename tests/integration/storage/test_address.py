"""DATABASE_URL: refusals that a person can act on, and Prisma's parameters."""

from __future__ import annotations

import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import pytest

from actors.model.errors import ConfigurationError, StorageRefused, StorageUnavailable
from actors.model.task import NewTask
from storage.migrate import migrate, migrations
from storage.pool import open_pool
from storage.store import open_store, sizes
from storage.url import parse_url
from tests.support.bench import Database
from tests.support.postgres import Server


@pytest.fixture
def password_server(postgres_server: Server) -> Iterator[Server]:
    """Roles called guarded_… need their password."""
    file = postgres_server.data / "pg_hba.conf"
    before = file.read_text()
    file.write_text("local all /^guarded_ scram-sha-256\n" + before)
    reload(postgres_server)
    yield postgres_server
    file.write_text(before)
    reload(postgres_server)


def reload(server: Server) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


@pytest.fixture
async def role(database: Database) -> AsyncIterator[str]:
    """A role that may read and write our tables, and nothing else."""
    name = f"guarded_{uuid.uuid4().hex[:8]}"
    schema = database.url.schema
    await database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'sesame'")
    await database.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    await database.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}")
    await database.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {name}")
    yield name
    await database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(server: Server, role: str, password: str, schema: str) -> str:
    return f"postgresql://{role}:{password}@/postgres?host={quote(str(server.folder))}&schema={schema}"


async def test_a_wrong_password_is_refused_in_words_without_the_password(
    password_server: Server, role: str, database: Database
) -> None:
    url = as_role(password_server, role, "wrong-guess", database.url.schema)
    async with open_store(url) as store:
        with pytest.raises(StorageRefused, match=f'password authentication failed for user "{role}"') as refused:
            for _ in range(50):  # the server takes a moment to read its file again
                await store.tasks.stats()
    assert "wrong-guess" not in str(refused.value)
    async with open_store(as_role(password_server, role, "sesame", database.url.schema)) as store:
        await store.tasks.stats()


@pytest.mark.bad_input("CF08")
async def test_a_role_without_rights_may_work_but_not_migrate(
    postgres_server: Server, role: str, database: Database
) -> None:
    url = as_role(postgres_server, role, "sesame", database.url.schema)
    async with open_store(url) as store:
        await store.tasks.submit([NewTask(name="demo")])
    assert await migrate(parse_url(url)) == []  # nothing is pending: nothing to refuse
    elsewhere = as_role(postgres_server, role, "sesame", "nowhere_yet")
    with pytest.raises(StorageRefused, match="callboard db migrate"):
        await migrate(parse_url(elsewhere))
    async with open_store(elsewhere) as store:
        with pytest.raises(StorageRefused, match="callboard db migrate"):
            await store.tasks.stats()


async def test_a_table_that_may_not_be_read_is_refused(postgres_server: Server, role: str, database: Database) -> None:
    await database.execute(f"REVOKE ALL ON callboard_tasks FROM {role}")
    async with open_store(as_role(postgres_server, role, "sesame", database.url.schema)) as store:
        with pytest.raises(StorageRefused, match="permission denied"):
            await store.tasks.stats()


async def test_a_read_only_database_is_unavailable_for_writes(
    postgres_server: Server, role: str, database: Database
) -> None:
    await database.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    url = as_role(postgres_server, role, "sesame", database.url.schema)
    async with open_store(url) as store:
        await store.tasks.stats()
        with pytest.raises(StorageUnavailable, match="read-only"):
            await store.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"1")])
        await database.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")
        await store.tasks.submit([NewTask(name="demo")])  # as after a failover: a new connection, the new primary
    await database.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    with pytest.raises(StorageRefused):
        await migrate(parse_url(as_role(postgres_server, role, "sesame", "nowhere_yet")))


async def test_a_role_s_own_statement_timeout_stops_neither_work_nor_migrations(
    postgres_server: Server, role: str, database: Database
) -> None:
    await database.execute(f"ALTER ROLE {role} SET statement_timeout = '1ms'")
    schema = f"{database.url.schema}_more"
    await database.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    url = as_role(postgres_server, role, "sesame", schema)
    assert await migrate(parse_url(url)) == migrations()
    async with open_store(url) as store:
        await store.tasks.submit([NewTask(name="demo")])
        assert (await store.tasks.stats())["tasks"]["queued"] == 1


async def test_a_database_that_is_not_there_is_refused(postgres_server: Server, loop: None) -> None:
    url = f"postgresql://postgres@/nothing_here?host={quote(str(postgres_server.folder))}"
    async with open_store(url) as store:
        with pytest.raises(StorageRefused, match="nothing_here"):
            await store.tasks.stats()


@pytest.mark.bad_input("CF08")
@pytest.mark.parametrize("parameter", ["socket_timeout=5", "sslmode=sometimes", "connection_limit=many", "schema=a-b"])
async def test_what_is_not_understood_is_named(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=parameter.split("=")[0]):
        parse_url(f"postgresql://u:p@h/d?{parameter}")


async def test_prisma_s_parameters_are_understood(database_url: str, database: Database) -> None:
    url = f"{database_url}&connection_limit=3&pool_timeout=2&connect_timeout=2&sslmode=prefer"
    async with open_store(url) as store:
        await store.tasks.submit([NewTask(name="demo")])
        await store.tasks.stats()
    assert await database.value("SELECT count(*) FROM callboard_tasks") == 1


@pytest.mark.parametrize(("limit", "expected"), [(1, (1, 1, 1)), (3, (1, 1, 1)), (5, (1, 1, 3)), (12, (2, 4, 6))])
async def test_the_limit_is_shared_out(limit: int, expected: tuple[int, int, int]) -> None:
    assert sizes(limit) == expected


@pytest.mark.parametrize("pgbouncer", ["false", "true"])
async def test_settings_hold_in_every_transaction(database_url: str, pgbouncer: str) -> None:
    """Behind a pooler for one transaction only, because the session belongs to others too."""
    url = parse_url(f"{database_url}&pgbouncer={pgbouncer}")
    names = ("search_path", "statement_timeout", "synchronous_commit", "enable_seqscan", "lock_timeout")
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    async with open_pool(
        url, name="t", size=1, statement_limit=1.5, settings={"enable_seqscan": "off", "synchronous_commit": "on"}
    ) as pool:
        [row] = await pool.fetch(query)
        assert row[0].strip('"') == url.schema
        assert tuple(row)[1:] == ("1500ms", "on", "off", "1s")


async def test_a_store_behind_a_pooler_works_and_polls(database_url: str, database: Database) -> None:
    async with open_store(f"{database_url}&pgbouncer=true") as store:
        await store.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"1")] * 2)
        assert (await store.tasks.stats())["tasks"]["queued"] == 1
        assert await store.dispatch.lanes() != []
        with pytest.raises(StorageRefused):
            async with open_store(f"{database_url}&pgbouncer=true".replace("schema=", "schema=x")) as other:
                await other.tasks.stats()
