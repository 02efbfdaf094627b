"""Links in memory, with what networks do: delay, loss, resets, silence, and repeats of what may be repeated.

Streams keep their order, as TCP does. What is blocked waits and comes when the way is free again, unless its
connection was reset meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import trio

from actors.model import link as wire
from actors.model.errors import LinkLost
from actors.model.lease import LeaseTerms
from tests.simulation.dice import Dice
from tests.simulation.timeline import Timeline

ROOM = 320  # messages on their way: what a sender's channel and the peer's hold in the product
LEAVE_LIMIT, GONE_LIMIT = 0.5, 5.0  # seconds, as transport has them
REPEATABLE = (wire.Heartbeat, wire.HeartbeatReply, wire.Assign, wire.Report, wire.Committed, wire.Accepted, wire.Cancel)


@dataclass(slots=True)
class Way:
    """One direction between two hosts."""

    delay: float = 0.001  # seconds
    jitter: float = 0.002  # seconds at most beyond it
    blocked: int = 0  # so many faults block it
    repeats: float = 0.0  # probability that a message comes twice


class Pipe:
    """One direction of one connection; stands in for the sender's channel."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self._network, self.way = network, network.way(source, target)
        self.source, self.target = source, target
        self._inbox, self.incoming = trio.open_memory_channel[Any](100_000)
        self._flight: deque[tuple[float, Any]] = deque()  # None: the end
        self._last_due = 0.0
        self._room = trio.Event()
        self.closed = False  # by the sender
        self.broken = False  # nothing more gets through, and the sender knows it
        self.void = False  # nothing more gets through, and nobody knows it
        self.ended = trio.Event()  # the receiver has seen the end
        self.on_end: Callable[[], None] | None = None

    # --- the sender's side ------------------------------------------------------------------------

    def send_nowait(self, message: Any) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        if self.broken:
            raise trio.BrokenResourceError
        if len(self._flight) >= ROOM:
            raise trio.WouldBlock
        self._put(message)
        if self.way.repeats and isinstance(message, REPEATABLE) and self._network.dice.happens(self.way.repeats):
            self._put(message)

    async def send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        while len(self._flight) >= ROOM and not (self.closed or self.broken):
            self._room = trio.Event()
            await self._room.wait()
        self.send_nowait(message)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if not self.broken:
                self._put(None)
        self._room.set()

    # --- on the way -------------------------------------------------------------------------------

    def _put(self, message: Any) -> None:
        if self.void:
            return
        due = self._last_due = max(self._last_due, trio.current_time() + self._network.delay(self.way))
        self._flight.append((due, message))
        self._network.timeline.at(due, self.pump)

    def pump(self) -> None:
        """Delivers what has arrived by now."""
        now = trio.current_time()
        while self._flight and self._flight[0][0] <= now and not self.way.blocked:
            _, message = self._flight.popleft()
            self._room.set()
            if message is None:
                self._end()
                return
            try:
                self._inbox.send_nowait(message)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # The receiver has left: its kernel says so, if the answer gets through.
                self.broken = not self._network.way(self.target, self.source).blocked
            else:
                self._network.watch(self.source, self.target, message)

    def delay_again(self) -> None:
        """The way is free again: what waited is on its way anew."""
        self._last_due = 0.0
        waiting, self._flight = self._flight, deque()
        for _, message in waiting:
            self._put(message)

    def _end(self) -> None:
        self._inbox.close()
        self.ended.set()
        if self.on_end is not None:
            self.on_end()

    def reset(self) -> None:
        """What is on its way is lost, and both ends are told."""
        self._flight.clear()
        self.broken = True
        self._room.set()
        self._end()

    def refuse(self) -> None:
        """The receiver is gone, and its kernel says so to whoever sends."""
        self._flight.clear()
        self.broken = True
        self._room.set()

    def hang_up(self) -> None:
        """The receiver reads what has arrived, and nothing more."""
        self.refuse()
        self._end()

    def vanish(self) -> None:
        """What is on its way is lost, and nobody is told."""
        self._flight.clear()
        self.void = True


class Connection:
    """A worker's stream to a coordinator."""

    def __init__(self, network: Network, client: str, server: str) -> None:
        self.client, self.server = client, server
        self.up, self.down = Pipe(network, client, server), Pipe(network, server, client)
        self.trouble: str | None = None
        self._network = network

    def reset(self, why: str) -> None:
        self.trouble = self.trouble or why
        self.up.reset()
        self.down.reset()
        self._network.connections.pop(self, None)

    def touches(self, *hosts: str) -> bool:
        return {self.client, self.server} >= set(hosts)


Serve = Callable[[wire.CoordinatorEnd], Awaitable[None]]


@dataclass(slots=True)
class Listener:
    host: str
    spawn: Callable[[Callable[[], Awaitable[None]]], None]  # starts a task of the node
    serve: Serve


class Network:
    """All ways, all connections."""

    def __init__(self, timeline: Timeline, dice: Dice) -> None:
        self.timeline, self.dice = timeline, dice
        self.connections: dict[Connection, None] = {}
        self.listeners: dict[str, Listener] = {}  # by address
        self.watchers: list[Callable[[str, str, Any], None]] = []
        self.ends: list[Callable[[str], None]] = []  # a coordinator sees the stream of this worker end
        self._ways: dict[tuple[str, str], Way] = {}

    def way(self, source: str, target: str) -> Way:
        return self._ways.setdefault((source, target), Way())

    def delay(self, way: Way) -> float:
        return way.delay + self.dice.uniform(0, way.jitter)

    def watch(self, source: str, target: str, message: Any) -> None:
        for watcher in self.watchers:
            watcher(source, target, message)

    # --- faults -----------------------------------------------------------------------------------

    def block(self, source: str, target: str) -> None:
        self.way(source, target).blocked += 1

    def unblock(self, source: str, target: str) -> None:
        way = self.way(source, target)
        way.blocked -= 1
        if not way.blocked:
            for connection in list(self.connections):
                for pipe in (connection.up, connection.down):
                    if pipe.way is way:
                        pipe.delay_again()

    def reset(self, first: str, second: str, why: str = "connection reset") -> int:
        """Resets all connections between two hosts; how many."""
        found = [one for one in self.connections if one.touches(first, second)]
        for connection in found:
            connection.reset(why)
        return len(found)

    def kill(self, host: str, *, silent: bool) -> None:
        """A process has ended: its peers are told, unless its whole machine is gone."""
        self.listeners = {address: one for address, one in self.listeners.items() if one.host != host}
        for connection in [one for one in self.connections if host in (one.client, one.server)]:
            ours, theirs = (connection.up, connection.down)[:: 1 if connection.client == host else -1]
            if silent:
                ours.vanish()
                theirs.vanish()
            elif self.dice.happens(0.5):  # what it had written arrives, and then the end
                ours.close()
                theirs.refuse()
            else:
                self.timeline.after(self.delay(ours.way), partial(connection.reset, "the peer was killed"))
                ours.vanish()

    def revive(self, host: str) -> None:
        """A machine is back: it answers what belongs to connections before its end with a reset."""
        for connection in [one for one in self.connections if host in (one.client, one.server) and one.up.void]:
            self.timeline.after(0.2, partial(connection.reset, "the peer was restarted"))

    # --- connecting -------------------------------------------------------------------------------

    def dialler(self, host: str) -> Callable[[str, LeaseTerms], AbstractAsyncContextManager[wire.WorkerEnd]]:
        """What a worker on this host dials with."""

        @asynccontextmanager
        async def dial(address: str, terms: LeaseTerms) -> AsyncIterator[wire.WorkerEnd]:
            connection = await self._connect(host, address, terms.connect_limit)
            up, down = connection.up, connection.down
            outgoing = cast("trio.MemorySendChannel[wire.WorkerMessage]", up)
            try:
                yield wire.WorkerEnd(address, down.incoming, outgoing)
            finally:
                up.close()
                with trio.move_on_after(LEAVE_LIMIT, shield=True):
                    await up.ended.wait()
                    await down.ended.wait()
                down.incoming.close()
                up.broken = up.broken or not up.ended.is_set()
                if up.ended.is_set() and down.ended.is_set():
                    self.connections.pop(connection, None)
            if connection.trouble is not None:
                raise LinkLost(f"{address}: {connection.trouble}")

        return dial

    async def _connect(self, host: str, address: str, limit: float) -> Connection:
        server = address.removeprefix("http://").split(":")[0]
        there, back = self.way(host, server), self.way(server, host)
        with trio.move_on_after(limit):
            await trio.sleep(self.delay(there) + self.delay(back))
            while there.blocked or back.blocked:
                await trio.sleep(limit / 5)
            listener = self.listeners.get(address)
            if listener is None:
                raise LinkLost(f"{address}: connection refused")
            connection = Connection(self, host, listener.host)
            self.connections[connection] = None
            listener.spawn(lambda: self._serve(listener, connection))
            return connection
        raise LinkLost(f"{address}: no answer within {limit:g} s")

    async def _serve(self, listener: Listener, connection: Connection) -> None:
        """The coordinator's end, in a task of its node."""
        up, down = connection.up, connection.down
        outgoing = cast("trio.MemorySendChannel[wire.CoordinatorMessage]", down)
        with trio.CancelScope() as scope:
            up.on_end = partial(self._hurry, scope, connection.client)
            await listener.serve(wire.CoordinatorEnd(connection.client, up.incoming, outgoing))
        down.close()
        up.incoming.close()
        if up.ended.is_set() and down.ended.is_set():
            self.connections.pop(connection, None)

    def _hurry(self, scope: trio.CancelScope, client: str) -> None:
        """An actor whose stream has ended has so many seconds to leave."""
        for hook in self.ends:
            hook(client)
        scope.deadline = min(scope.deadline, trio.current_time() + GONE_LIMIT)
