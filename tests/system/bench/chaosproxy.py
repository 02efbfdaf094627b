"""A proxy on one link that does to its bytes what networks do: late, slow, held back, lost, cut, doubled, damaged.

One proxy stands before one server, on TCP or on a unix socket. Each connection through it is a `Pipe` with a tag: who
it belongs to. Each direction of it follows the `Way` of its tag, so trouble may be one client's or everybody's.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

CHUNK = 65_536
QUEUE = 64  # chunks on their way in one direction
HARD_CLOSE = struct.pack("ii", 1, 0)
Address = Path | tuple[str, int]
_FACTS = frozenset({"passed", "lost", "changed", "watch"})  # of a Way: what is no trouble
_GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass
class Way:
    """What happens to bytes in one direction. Everything may be changed while they flow."""

    delay: float = 0.0  # seconds
    jitter: float = 0.0  # seconds, more or less
    rate: float = 0.0  # bytes a second; 0: as fast as it goes
    deaf: bool = False  # nothing is read: the sender's buffers fill up
    swallow: bool = False  # read, and thrown away; the connection stays
    held: bool = False  # kept until this is over, then delivered: what a cut that heals is to TCP
    cut_after: int = 0  # bytes of a connection; what follows is lost and both ends are reset; 0: never
    cut_at: bytes | None = None  # once: the request that holds these bytes is delivered, its answer is lost
    lose_at: bytes | None = None  # once: the request that holds these bytes is lost
    flip_at: int = -1  # the byte at this place of each new connection is damaged
    duplicate: bool = False  # every chunk twice
    watch: Callable[[Pipe, bytes], str] | None = None  # says "lose" or "lose_answer" of what it recognises
    passed: int = 0  # bytes
    lost: int = 0  # bytes
    changed: trio.Event = field(default_factory=trio.Event)

    def set(self, **changes: object) -> None:
        """Changes it; what waits for a change goes on."""
        for name, value in changes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        self.changed.set()
        self.changed = trio.Event()

    def trouble(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in _FACTS}

    def calm(self) -> None:
        """No trouble any more."""
        self.set(**Way().trouble())

    async def until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            await self.changed.wait()


class Pipe:
    """One connection through the proxy."""

    def __init__(self, tag: str, client: trio.SocketStream, server: trio.SocketStream, up: Way, down: Way) -> None:
        self.tag, self.client, self.server, self.up, self.down = tag, client, server, up, down
        self.scope = trio.CancelScope()
        self.answer_is_lost = False  # the next bytes from the server end this connection instead of passing

    async def run(self) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                for source, sink, way in ((self.client, self.server, self.up), (self.server, self.client, self.down)):
                    send, receive = trio.open_memory_channel[tuple[float, bytes]](QUEUE)
                    nursery.start_soon(self._read, source, send, way)
                    nursery.start_soon(self._write, receive, sink, way)
        for stream in (self.client, self.server):
            stream.socket.close()

    def reset(self) -> None:
        """RST to both ends."""
        for stream in (self.client, self.server):
            if stream.socket.family != socket.AF_UNIX and stream.socket.fileno() >= 0:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HARD_CLOSE)
        self.scope.cancel("reset")

    def half_close(self, towards_server: bool) -> None:
        """FIN to one end; the other direction goes on."""
        try:
            (self.server if towards_server else self.client).socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has ended already

    async def _read(
        self, source: trio.SocketStream, sink: trio.MemorySendChannel[tuple[float, bytes]], way: Way
    ) -> None:
        place = 0
        async with sink:
            while True:
                await way.until(lambda: not way.deaf)
                try:
                    data = await source.receive_some(CHUNK)
                except _GONE:
                    self.scope.cancel("one end broke the connection")
                    return
                if not data:
                    return
                data, cut = self._mangle(data, place, way)
                place += len(data)
                if data:
                    due = trio.current_time() + max(0.0, way.delay + random.uniform(-way.jitter, way.jitter))
                    await sink.send((due, data))
                    if way.duplicate:
                        await sink.send((due, data))
                if cut:
                    await trio.sleep(0.01)  # what was still let through goes first
                    self.reset()
                    return

    def _mangle(self, data: bytes, place: int, way: Way) -> tuple[bytes, bool]:
        """What passes of it, and whether the connection is cut after it."""
        if self.answer_is_lost and way is self.down:
            way.lost += len(data)
            return b"", True
        if way.swallow:
            way.lost += len(data)
            return b"", False
        seen = way.watch(self, data) if way.watch is not None else ""
        if way.lose_at is not None and way.lose_at in data:
            way.lose_at, seen = None, "lose"
        if seen == "lose":
            way.lost += len(data)
            return b"", True
        if way.cut_at is not None and way.cut_at in data:
            way.cut_at, seen = None, "lose_answer"
        if seen == "lose_answer":
            self.answer_is_lost = True
        if place <= way.flip_at < place + len(data):
            at = way.flip_at - place
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        if way.cut_after and place + len(data) >= way.cut_after:
            kept = data[: max(0, way.cut_after - place)]
            way.lost += len(data) - len(kept)
            return kept, True
        return data, False

    async def _write(
        self, source: trio.MemoryReceiveChannel[tuple[float, bytes]], sink: trio.SocketStream, way: Way
    ) -> None:
        try:
            async for due, data in source:
                await trio.sleep_until(due)
                await way.until(lambda: not way.held)
                if way.rate:
                    await trio.sleep(len(data) / way.rate)
                await sink.send_all(data)
                way.passed += len(data)
            await way.until(lambda: not (way.held or way.swallow))  # a lost FIN is no FIN
            await sink.send_eof()
        except _GONE:
            self.scope.cancel("one end broke the connection")


class Proxy:
    """Everything that goes to one server."""

    def __init__(self, server: Address, who: Callable[[trio.SocketStream], str] = lambda stream: "") -> None:
        self.server, self._who = server, who
        self._ways: dict[str, tuple[Way, Way]] = {"*": (Way(), Way())}  # by tag: towards the server, and back
        self.refuses: set[str] = set()  # tags whose new connections are reset; "*": all
        self.pipes: set[Pipe] = set()
        self.cuts = 0

    def ways(self, tag: str) -> tuple[Way, Way]:
        """Both directions of one tag: towards the server, and back. A new one begins with everybody's trouble."""
        if tag not in self._ways:
            up, down = Way(), Way()
            up.set(**self._ways["*"][0].trouble())
            up.watch = self._ways["*"][0].watch
            down.set(**self._ways["*"][1].trouble())
            self._ways[tag] = up, down
        return self._ways[tag]

    def up(self, tag: str = "*", **changes: object) -> None:
        """Trouble on the way to the server, for one tag or for everybody."""
        self._change(0, tag, changes)

    def down(self, tag: str = "*", **changes: object) -> None:
        """Trouble on the way back."""
        self._change(1, tag, changes)

    def _change(self, which: int, tag: str, changes: dict[str, object]) -> None:
        for pair in self._ways.values() if tag == "*" else [self.ways(tag)]:
            pair[which].set(**changes)

    @property
    def passed(self) -> int:
        """Bytes that arrived."""
        return sum(way.passed for pair in self._ways.values() for way in pair)

    @property
    def lost(self) -> int:
        """Bytes that did not arrive."""
        return sum(way.lost for pair in self._ways.values() for way in pair)

    def calm(self, tag: str = "*") -> None:
        for pair in self._ways.values() if tag == "*" else [self.ways(tag)]:
            for way in pair:
                way.calm()
        self.refuses -= self.refuses if tag == "*" else {tag}

    def reset(self, tag: str = "*") -> int:
        """RST for every connection of this tag; how many."""
        found = [pipe for pipe in self.pipes if tag in ("*", pipe.tag)]
        for pipe in found:
            pipe.reset()
        return len(found)

    def half_close(self, towards_server: bool, tag: str = "*") -> int:
        found = [pipe for pipe in self.pipes if tag in ("*", pipe.tag)]
        for pipe in found:
            pipe.half_close(towards_server)
        return len(found)

    async def serve(self, client: trio.SocketStream) -> None:
        tag = self._who(client)
        up, down = self.ways(tag)
        try:
            server = await self._connect() if not self.refuses & {"*", tag} else None
        except OSError:
            server = None
        if server is None:
            if client.socket.family != socket.AF_UNIX:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HARD_CLOSE)
            client.socket.close()
            return
        pipe = Pipe(tag, client, server, up, down)
        self.pipes.add(pipe)
        try:
            await pipe.run()
        finally:
            self.cuts += pipe.answer_is_lost
            self.pipes.discard(pipe)
            client.socket.close()
            server.socket.close()

    async def _connect(self) -> trio.SocketStream:
        if isinstance(self.server, Path):
            return await trio.open_unix_socket(str(self.server))
        sock = trio.socket.socket(socket.AF_INET)
        try:
            await sock.connect(self.server)
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)


@asynccontextmanager
async def open_proxy(
    listen: Address, server: Address, who: Callable[[trio.SocketStream], str] = lambda stream: ""
) -> AsyncIterator[Proxy]:
    """Listens until left."""
    proxy = Proxy(server, who)
    listener = trio.socket.socket(socket.AF_UNIX if isinstance(listen, Path) else socket.AF_INET)
    if isinstance(listen, Path):
        await listener.bind(str(listen))
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await listener.bind(listen)
    listener.listen(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy.serve, [trio.SocketListener(listener)])
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel("the proxy is closed")
