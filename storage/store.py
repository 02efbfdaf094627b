"""The PostgreSQL store, whole: pools, lanes, wake-ups, and the two ports over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from actors.model.queue import Retention
from actors.model.task import AGEING
from storage.bulk import PostgresBulk
from storage.dispatch import PostgresDispatch
from storage.explain import PostgresExplain
from storage.lanes import Lanes
from storage.notify import Notifier
from storage.overview import PostgresOverview
from storage.pool import STEADY_PLANS, Pool, open_pool
from storage.queries import sql
from storage.queues import PostgresQueues
from storage.schedules import PostgresSchedules
from storage.tasks import PostgresTasks
from storage.url import parse_url
from storage.workflows import PostgresWorkflows

KEPT = Retention()
CONNECTIONS = 12  # of one node, beside the one that listens, unless the URL says otherwise
CONTROL_LIMIT, WORK_LIMIT, API_LIMIT = 2.0, 5.0, 10.0  # seconds a statement
API_WAIT = 1.0  # seconds that a request waits for a connection


class PostgresTaskStore(PostgresTasks, PostgresOverview):
    """The TaskStore port."""

    def __init__(self, pool: Pool, lanes: Lanes, notifier: Notifier, retention: Retention) -> None:
        PostgresTasks.__init__(self, pool, lanes, notifier)
        PostgresOverview.__init__(self, pool, notifier, retention)


class Store:
    """What a server node has of the database."""

    def __init__(
        self,
        tasks: PostgresTaskStore,
        schedules: PostgresSchedules,
        workflows: PostgresWorkflows,
        queues: PostgresQueues,
        explain: PostgresExplain,
        bulk: PostgresBulk,
        dispatch: PostgresDispatch,
        notifier: Notifier,
        pools: Sequence[Pool],
    ) -> None:
        self.tasks, self.schedules, self.workflows, self.dispatch = tasks, schedules, workflows, dispatch
        self.queues, self.explain, self.bulk = queues, explain, bulk
        self.notifier, self._pools = notifier, pools

    @property
    def answered_at(self) -> float:
        """Trio time of the database's last answer to anything; far in the past when it never answered."""
        return max(pool.answered_at for pool in self._pools)

    def refusal(self, within: float) -> str | None:
        """Why the database takes no writes, as it said to anybody here in the last `within` seconds."""
        last = max(self._pools, key=lambda pool: pool.refused_at)
        return last.refusal if trio.current_time() - last.refused_at < within else None

    async def probe(self) -> None:
        """Raises StorageError when the database does not answer."""
        await self._pools[0].execute("SELECT 1")

    async def oldest_snapshot(self) -> tuple[str, float] | None:
        """Who keeps the database longest from clearing dead rows away, and since how many seconds.

        None: nobody that we may see. Raises StorageError.
        """
        row = await self._pools[-1].fetchrow(sql("oldest_snapshot"))
        return None if row is None else (row["who"], row["age"])


@asynccontextmanager
async def open_store(
    database_url: str,
    *,
    default_timeout: float | None = None,
    ageing: float = AGEING,
    retention: Retention = KEPT,
    direct_url: str | None = None,
) -> AsyncIterator[Store]:
    """Trio-flavoured; inside the loop. Connects when first used.

    `default_timeout` (seconds) holds where neither task nor handler says one. After `ageing` seconds a task stands
    beside new ones of the next better priority. `direct_url` leads past a pooler: without it nothing listens through
    one, and everybody polls. Raises ConfigurationError.
    """
    url = parse_url(database_url)
    listen = parse_url(direct_url) if direct_url else None if url.pgbouncer else url
    control_size, work_size, api_size = sizes(url.connection_limit or CONNECTIONS)
    async with (
        open_pool(
            url, name="control", size=control_size, statement_limit=CONTROL_LIMIT, settings=STEADY_PLANS
        ) as control,
        open_pool(url, name="work", size=work_size, statement_limit=WORK_LIMIT, settings=STEADY_PLANS) as work,
        open_pool(
            url, name="api", size=api_size, statement_limit=API_LIMIT, settings=STEADY_PLANS, acquire_limit=API_WAIT
        ) as api,
    ):
        notifier = Notifier(url, listen, api, (control, work, api))
        lanes, api_lanes = Lanes(work), Lanes(api)
        tasks = PostgresTaskStore(api, api_lanes, notifier, retention)
        yield Store(
            tasks,
            PostgresSchedules(api, api_lanes, notifier),
            PostgresWorkflows(api, api_lanes, notifier),
            PostgresQueues(api, notifier),
            PostgresExplain(api, tasks, ageing),
            PostgresBulk(api, notifier),
            PostgresDispatch(control, work, lanes, notifier, default_timeout, ageing),
            notifier,
            (control, work, api),
        )
        await trio.lowlevel.checkpoint()


def sizes(connections: int) -> tuple[int, int, int]:
    """Control, work and api: one each at least, so that leases are renewed whatever the others wait for."""
    control = 2 if connections >= 6 else 1
    work = max(1, connections // 3)
    return control, work, max(1, connections - control - work)
