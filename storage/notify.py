"""Wake-ups: hints within the process at once, and between processes by LISTEN and NOTIFY.

A hint may be lost; everybody polls as well. One connection listens; it reconnects by itself, and a
reconnect is a hint of everything, because notifications of the gap are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import trio
import trio_asyncio

from storage.connect import Connection, connect
from storage.pool import Pool
from storage.url import DatabaseUrl

log = logging.getLogger(__name__)

TOPICS = ("due", "wishes", "final", "schedules", "parents")
PROBE_EVERY = 10.0  # seconds
FINAL_EVERY = 0.05  # seconds between notifications of finished tasks: waiters poll as well


class Notifier:
    """Implements the Wakeups port, and sends hints to other processes."""

    def __init__(self, url: DatabaseUrl, listen: DatabaseUrl | None, pool: Pool, ours: Sequence[Pool]) -> None:
        self._url, self._listen_url, self._pool = url, listen, pool  # listen None: behind a pooler, poll only
        self._ours = ours  # what these connections notify, this process was told of before
        self._subscribers: dict[str, list[trio.MemorySendChannel[None]]] = {topic: [] for topic in TOPICS}
        self._pending: set[str] = set()
        self._send = trio.Event()
        self.connected = False

    def channel(self, topic: str) -> str:
        """The database's name for a topic."""
        return f"callboard_{topic}" if self._url.schema == "public" else f"callboard_{self._url.schema}_{topic}"[:63]

    def subscribe(self, topic: str) -> trio.MemoryReceiveChannel[None]:
        send, receive = trio.open_memory_channel[None](1)
        self._subscribers[topic].append(send)
        return receive

    def notify(self, topic: str) -> None:
        """Wakes this process's subscribers."""
        for channel in self._subscribers[topic]:
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                channel.send_nowait(None)

    async def announce(self, topic: str) -> None:
        """Wakes the subscribers of every process; one that listens hears of it before this returns, or soon after."""
        self.notify(topic)
        await self._pool.execute("SELECT pg_notify($1, '')", self.channel(topic))

    def due(self) -> None:
        """Tasks became due by something other than a submission."""
        self.notify("due")

    def final(self) -> None:
        """Tasks finished: told at once here, and to other processes a little later, many as one."""
        self.notify("final")
        self._pending.add("final")
        self._send.set()

    def freed(self) -> None:
        """What counted for limits ended: more of the same queues may start, by whatever coordinator."""
        self.notify("due")
        self._pending.add("due")
        self._send.set()

    def parents(self) -> None:
        """Tasks ended that others depend on."""
        self.notify("parents")
        self._pending.add("parents")
        self._send.set()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """The actor: listens, and passes hints on to other processes."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_others)
            if self._listen_url is None:
                log.info("a pooler is between: without CALLBOARD_DIRECT_URL nothing listens, and everybody polls")
            else:
                await trio_asyncio.aio_as_trio(self._listen)(self._listen_url)

    async def _tell_others(self) -> None:
        while True:
            await self._send.wait()
            self._send = trio.Event()
            topics, self._pending = self._pending, set()
            try:
                for topic in topics:
                    await self._pool.execute("SELECT pg_notify($1, '')", self.channel(topic))
            except Exception as error:
                log.debug("a hint was not sent: %s", error)
            await trio.sleep(FINAL_EVERY)

    # --- asyncio-flavoured ------------------------------------------------------------------------

    async def _listen(self, url: DatabaseUrl) -> None:
        delay = 0.1
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(url, "callboard listener", None, 3.0)
                async with asyncio.timeout(3.0):  # not wait_for, which can lose a cancel on Python 3.11
                    for topic in TOPICS:
                        await connection.add_listener(self.channel(topic), self._heard(topic))
                self.connected, delay = True, 0.1
                for topic in TOPICS:
                    self.notify(topic)
                await self._watch(connection)
                log.info("listener: the server closed the connection; polling until it is back")
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.info("listener: %s; polling until it is back", error)
            finally:
                self.connected = False
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(delay)
            delay = min(2.0, delay * 2)

    async def _watch(self, connection: Connection) -> None:
        """Until the server ends the connection; a probe finds one that died without a word."""
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        while not gone.is_set():
            try:
                async with asyncio.timeout(PROBE_EVERY):
                    await gone.wait()
            except TimeoutError:
                async with asyncio.timeout(5.0):
                    await connection.fetchval("SELECT 1")

    def _heard(self, topic: str) -> Callable[..., None]:
        def callback(_: object, pid: int, *__: object) -> None:
            if not any(pool.owns(pid) for pool in self._ours):
                self.notify(topic)

        return callback
