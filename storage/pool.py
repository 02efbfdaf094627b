"""Connections to PostgreSQL, on asyncpg over the process's one asyncio loop.

Each business call crosses from Trio to asyncio once: acquire, execute and release happen in one
asyncio function. Every call has a deadline on the asyncio side; a connection that missed it is
abandoned, never closed politely, because a frozen server would hold the closing too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import trio
import trio_asyncio
from asyncpg import exceptions as pg

from actors.model.errors import BadValue, StorageError, StorageRefused, StorageTimeout, StorageUnavailable
from storage.url import DatabaseUrl

log = logging.getLogger(__name__)

T = TypeVar("T")
if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # generic in its stubs only

CONNECT_LIMIT = 3.0  # seconds for one connection, unless the URL says otherwise
ACQUIRE_LIMIT = 5.0  # seconds for a free connection
SLACK = 0.5  # seconds the client waits beyond the server's own statement limit

# Worth one more try on a fresh connection: serialization, deadlock, lock limit, shutdown and restart,
# lost connections, too many connections.
_AGAIN = (
    pg.SerializationError,
    pg.DeadlockDetectedError,
    pg.LockNotAvailableError,
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    pg.CannotConnectNowError,
    pg.PostgresConnectionError,
    pg.TooManyConnectionsError,
    pg.ReadOnlySQLTransactionError,
    pg.InterfaceError,
    pg.InvalidCachedStatementError,
    OSError,
    EOFError,
)
_REFUSED = (
    pg.InvalidAuthorizationSpecificationError,
    pg.InvalidCatalogNameError,
    pg.InsufficientPrivilegeError,
    pg.UndefinedTableError,
    pg.UndefinedColumnError,
    pg.UndefinedFunctionError,
)


class Pool:
    """At most `size` connections with one statement limit. Trio-flavoured; `open_pool` makes it."""

    def __init__(self, url: DatabaseUrl, name: str, size: int, statement_limit: float) -> None:
        self._url, self._name, self._size, self._limit = url, name, size, statement_limit
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._turn: asyncio.Semaphore = asyncio.Semaphore(size)

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, limit: float | None = None) -> T:
        """Trio-flavoured. `work` is asyncio-flavoured and gets a connection; it may be called twice.

        Raises StorageTimeout (outcome unknown), StorageUnavailable, StorageRefused, BadValue.
        """
        result: T = await trio_asyncio.aio_as_trio(self._run)(work, limit or self._limit)
        return result

    async def fetch(self, query: str, *args: Any, limit: float | None = None) -> list[asyncpg.Record]:
        return await self.run(lambda connection: connection.fetch(query, *args), limit=limit)

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        return await self.run(lambda connection: connection.fetchrow(query, *args))

    async def execute(self, query: str, *args: Any) -> str:
        return await self.run(lambda connection: connection.execute(query, *args))

    # --- asyncio-flavoured below this line --------------------------------------------------------

    async def _run(self, work: Callable[[Connection], Awaitable[T]], limit: float) -> T:
        try:
            return await self._once(work, limit)
        except _AGAIN as error:
            log.info("pool %s tries again after %s: %s", self._name, type(error).__name__, error)
            await asyncio.sleep(random.uniform(0.01, 0.05))
        except Exception as error:
            raise translated(error) from error
        try:
            return await self._once(work, limit)
        except Exception as error:
            raise translated(error) from error

    async def _once(self, work: Callable[[Connection], Awaitable[T]], limit: float) -> T:
        try:
            await asyncio.wait_for(self._turn.acquire(), self._url.pool_timeout or ACQUIRE_LIMIT)
        except TimeoutError:
            raise StorageUnavailable(f"no free connection in pool {self._name}") from None
        connection: Connection | None = None
        healthy = False
        try:
            connection = self._take() or await self._connect()
            try:
                result = await asyncio.wait_for(work(connection), limit + SLACK)
            except TimeoutError:
                raise StorageTimeout(f"the database did not answer within {limit:g} s") from None
            except pg.QueryCanceledError:
                healthy = True
                raise StorageTimeout(f"the statement took longer than {limit:g} s") from None
            except (pg.DataError, pg.IntegrityConstraintViolationError, ValueError):
                healthy = True
                raise
            healthy = True
            return result
        finally:
            if connection is not None:
                self._give_back(connection, healthy)
            self._turn.release()

    def _take(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
            self._all.discard(connection)
        return None

    def _give_back(self, connection: Connection, healthy: bool) -> None:
        if healthy and not connection.is_closed() and not connection.is_in_transaction():
            self._free.append(connection)
        else:
            self._all.discard(connection)
            connection.terminate()

    async def _connect(self) -> Connection:
        limit = self._url.connect_timeout or CONNECT_LIMIT
        connection = await connect(self._url, f"callboard {self._name}", self._limit, limit)
        self._all.add(connection)
        return connection

    def terminate(self) -> None:
        for connection in self._all:
            connection.terminate()
        self._all.clear()
        self._free.clear()


async def connect(url: DatabaseUrl, name: str, statement_limit: float | None, limit: float) -> Connection:
    """Asyncio-flavoured. One connection with our settings."""
    settings = {
        "application_name": name,
        "lock_timeout": "1000" if statement_limit else "2000",
        "idle_in_transaction_session_timeout": "5000",
        "search_path": url.search_path,
        "synchronous_commit": "on",
        "timezone": "UTC",
        "jit": "off",
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
    }
    if statement_limit:
        settings["statement_timeout"] = str(int(statement_limit * 1000))
    if url.pgbouncer:
        settings = {key: value for key, value in settings.items() if key in ("application_name", "timezone")}
    connection: Connection = await asyncpg.connect(
        **url.connect_arguments(),
        server_settings=settings,
        timeout=limit,
        statement_cache_size=0 if url.pgbouncer else 200,
    )
    return connection


def translated(error: BaseException) -> StorageError:
    """Ours for the driver's: nothing of asyncpg leaves this room."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, _REFUSED):
        return StorageRefused(f"the database refused: {error}")
    if isinstance(error, pg.DataError | pg.IntegrityConstraintViolationError | ValueError):
        return BadValue("value", str(error))
    if isinstance(error, asyncio.TimeoutError):
        return StorageTimeout("the database did not answer in time")
    return StorageUnavailable(f"the database does not answer: {type(error).__name__}: {error}")


@asynccontextmanager
async def open_pool(url: DatabaseUrl, *, name: str, size: int, statement_limit: float) -> AsyncIterator[Pool]:
    """Trio-flavoured; inside the loop. Connects lazily: an absent database is no reason not to start."""
    pool = Pool(url, name, size, statement_limit)
    try:
        yield pool
    finally:
        pool.terminate()
        await trio.lowlevel.checkpoint()
