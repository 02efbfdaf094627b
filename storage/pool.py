"""Connections to PostgreSQL, on asyncpg over the process's one asyncio loop.

Each business call crosses from Trio to asyncio once: acquire, execute and release happen in one
asyncio function. Every call has a deadline on the asyncio side; a connection that missed it is
abandoned, never closed politely, because a frozen server would hold the closing too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import trio
import trio_asyncio

from actors.model.errors import StorageTimeout, StorageUnavailable, WritesRefused
from storage.connect import CONNECT_LIMIT, Connection, connect
from storage.faults import AGAIN, BROKEN, HARMLESS, had_no_effect, translated
from storage.url import DatabaseUrl

log = logging.getLogger(__name__)

T = TypeVar("T")
Repeatable = Callable[[], bool]  # asked when the connection was lost while `work` waited

ACQUIRE_LIMIT = 5.0  # seconds for a free connection
SLACK = 0.5  # seconds the client waits beyond the server's own statement limit

# Statements of the dispatch path join a batch to a table by primary key or walk one index. These
# settings keep the planner from anything else while its statistics are young: a plan made for an
# empty table would otherwise read a full one.
STEADY_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# Listings are planned for the values they are given: a filter that is not used must not cost anything.
FITTED_PLANS = ";".join(
    f"SET LOCAL {name} = {'force_custom_plan' if name == 'plan_cache_mode' else 'on'}" for name in STEADY_PLANS
)


def always() -> bool:
    return True


def never() -> bool:
    return False


class Pool:
    """At most `size` connections with one statement limit. Trio-flavoured; `open_pool` makes it."""

    def __init__(
        self,
        url: DatabaseUrl,
        name: str,
        size: int,
        statement_limit: float,
        settings: Mapping[str, str] | None = None,
        acquire_limit: float = ACQUIRE_LIMIT,
    ) -> None:
        self._acquire_limit = url.pool_timeout or acquire_limit
        self._url, self.name, self._size, self._limit = url, name, size, statement_limit
        self._settings = dict(settings or {})
        self._free: list[Connection] = []  # newest last: what is rarely needed grows old and is not kept busy
        self._all: set[Connection] = set()
        self._turn: asyncio.Semaphore = asyncio.Semaphore(size)
        self.answered_at = -1e9  # trio time of the last answer
        self.refused_at, self.refusal = -1e9, ""  # trio time of the last write that was refused, and why

    async def run(
        self, work: Callable[[Connection], Awaitable[T]], *, limit: float | None = None, repeatable: Repeatable = always
    ) -> T:
        """Trio-flavoured. `work` is asyncio-flavoured and gets a connection; it may be called twice.

        When `repeatable()` says no, it is not called again once it may have taken effect. Raises
        StorageTimeout (outcome unknown), StorageUnavailable, StorageRefused, BadValue.
        """
        try:
            result: T = await trio_asyncio.aio_as_trio(self._run)(work, limit or self._limit, repeatable)
        except WritesRefused as error:
            self.refused_at, self.refusal = trio.current_time(), str(error)
            raise
        self.answered_at = trio.current_time()
        return result

    async def fetch(self, query: str, *args: Any, repeatable: Repeatable = always) -> list[asyncpg.Record]:
        return await self.run(lambda connection: connection.fetch(query, *args), repeatable=repeatable)

    async def fetch_fitted(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Reads with a plan for these very values; for listings."""

        async def work(connection: Connection) -> list[asyncpg.Record]:
            async with connection.transaction(readonly=True):
                await connection.execute(FITTED_PLANS)
                return await connection.fetch(query, *args)

        return await self.run(work)

    async def fetchrow(self, query: str, *args: Any, repeatable: Repeatable = always) -> asyncpg.Record | None:
        return await self.run(lambda connection: connection.fetchrow(query, *args), repeatable=repeatable)

    async def execute(self, query: str, *args: Any) -> str:
        return await self.run(lambda connection: connection.execute(query, *args))

    def owns(self, pid: int) -> bool:
        """Whether a backend with this process id serves one of our connections."""
        return any(not one.is_closed() and one.get_server_pid() == pid for one in self._all)

    def terminate(self) -> None:
        """Drops every connection at once."""
        for connection in self._all:
            connection.terminate()
        self._all.clear()
        self._free.clear()

    # --- asyncio-flavoured below this line --------------------------------------------------------

    async def _run(self, work: Callable[[Connection], Awaitable[T]], limit: float, repeatable: Repeatable) -> T:
        try:
            try:
                return await self._once(work, limit, repeatable)
            except AGAIN as error:
                log.info("pool %s tries again after %s: %s", self.name, type(error).__name__, error)
            await asyncio.sleep(random.uniform(0.01, 0.05))
            return await self._once(work, limit, repeatable)
        except Exception as error:
            raise translated(error) from error

    async def _once(self, work: Callable[[Connection], Awaitable[T]], limit: float, repeatable: Repeatable) -> T:
        if self._turn.locked():
            await self._wait_turn()
        else:
            await self._turn.acquire()
        connection: Connection | None = None
        try:
            connection = self._take() or await self._connect()
            return await self._with_deadline(connection, work, limit, repeatable)
        finally:
            if connection is not None:
                self._give_back(connection)
            self._turn.release()

    async def _with_deadline(
        self, connection: Connection, work: Callable[[Connection], Awaitable[T]], limit: float, repeatable: Repeatable
    ) -> T:
        """Dropping the connection ends whatever `work` waits for; no cancelling that could itself wait."""
        deadline = asyncio.get_running_loop().call_later(limit + SLACK, connection.terminate)
        try:
            return await self._on(connection, work)
        except HARMLESS:
            raise
        except BROKEN as error:
            connection.terminate()
            if deadline.when() <= asyncio.get_running_loop().time():
                raise StorageTimeout(f"the database did not answer within {limit:g} s") from None
            self._drop_free()  # what broke one connection broke its neighbours: a restart, a failover
            if not had_no_effect(error) and not repeatable():
                raise StorageTimeout(f"the connection was lost while it waited for an answer: {error}") from error
            raise
        except BaseException:
            connection.terminate()
            raise
        finally:
            deadline.cancel()

    async def _on(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await (work(connection) if not self._url.pgbouncer else self._in_transaction(connection, work))
        except AttributeError as error:
            if connection.is_closed():  # dropped between two steps of a statement: the driver has no protocol any more
                raise asyncpg.ConnectionDoesNotExistError(f"the connection was dropped: {error}") from error
            raise

    async def _in_transaction(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Behind a pooler the settings hold for one transaction."""
        async with connection.transaction():
            await connection.execute(";".join(self._url.local_settings(self._limit, self._settings)))
            return await work(connection)

    async def _wait_turn(self) -> None:
        limit = self._acquire_limit
        try:
            async with asyncio.timeout(limit):
                await self._turn.acquire()
        except TimeoutError:
            raise StorageUnavailable(f"no free connection in pool {self.name} within {limit:g} s") from None

    def _take(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
            self._forget(connection)
        return None

    def _give_back(self, connection: Connection) -> None:
        if connection.is_closed() or connection.is_in_transaction():
            self._forget(connection)
            connection.terminate()
        else:
            self._free.append(connection)

    def _drop_free(self) -> None:
        free, self._free = self._free, []
        for connection in free:
            self._forget(connection)
            connection.terminate()

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)

    async def _connect(self) -> Connection:
        limit = self._url.connect_timeout or CONNECT_LIMIT
        connection = await connect(self._url, f"callboard {self.name}", self._limit, limit, self._settings)
        self._all.add(connection)
        return connection


@asynccontextmanager
async def open_pool(
    url: DatabaseUrl,
    *,
    name: str,
    size: int,
    statement_limit: float,
    settings: Mapping[str, str] | None = None,
    acquire_limit: float = ACQUIRE_LIMIT,
) -> AsyncIterator[Pool]:
    """Trio-flavoured; inside the loop. Connects lazily: an absent database is no reason not to start."""
    pool = Pool(url, name, size, statement_limit, settings, acquire_limit)
    try:
        yield pool
    finally:
        pool.terminate()
        await trio.lowlevel.checkpoint()
