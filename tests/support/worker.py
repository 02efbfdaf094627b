"""Workers under test: a coordinator in memory, an executor in memory, and a listener that remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from actors.model import link as wire
from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.errors import LinkLost
from actors.model.lease import LeaseTerms
from actors.model.worker import Held
from callboard.executor import frames

KEY = b"k" * 16


def an_assignment(
    *ids: int,
    attempt: int = 1,
    key: bytes = KEY,
    name: str = "noop",
    args: bytes = b"{}",
    timeout: int = 0,
    flags: int = 0,
    epoch: int = 1,
) -> Assignment:
    """Tasks of one claim, all alike."""
    count = len(ids)
    return Assignment(
        key, list(ids), [attempt] * count, [name], [0] * count, [timeout] * count, [flags] * count,
        [len(args)] * count, args * count, epoch,
    )  # fmt: skip


def outcomes_of(*ids: int, body: bytes = b"null", kind: Outcome = Outcome.SUCCEEDED, key: bytes = KEY) -> Outcomes:
    count = len(ids)
    return Outcomes([key], [0] * count, list(ids), [1] * count, [kind] * count, [len(body)] * count, body * count)


def kinds(outcomes: Outcomes) -> dict[int, Outcome]:
    """Task → how it ended."""
    return {task: Outcome(kind) for task, kind in zip(outcomes.ids, outcomes.kinds, strict=True)}


@dataclass
class Notes:
    """Listens to a crew."""

    ended: dict[int, Outcome] = field(default_factory=dict)
    bodies: dict[int, str] = field(default_factory=dict)
    begun: list[Held] = field(default_factory=list)
    progress: list[tuple[int, int, str]] = field(default_factory=list)
    reports: int = 0

    def finished(self, outcomes: Outcomes) -> None:
        self.reports += 1
        assert not self.ended.keys() & set(outcomes.ids), "an attempt ended twice"
        self.ended |= kinds(outcomes)
        self.bodies |= dict(zip(outcomes.ids, outcomes.texts(), strict=True))

    def started(self, attempts: Sequence[Held]) -> None:
        self.begun += attempts

    def progressed(self, values: Sequence[tuple[int, int, str]]) -> None:
        self.progress += values

    async def wait_ended(self, *ids: int) -> None:
        while not set(ids) <= self.ended.keys():
            await trio.sleep(0.005)


class FakeChild:
    """An executor in memory: answers pings, keeps what it is given, ends when told."""

    _pids = 1000

    def __init__(self, handlers: Sequence[frames.Declared] = (), *, mute: bool = False, slow: float = 0.0) -> None:
        FakeChild._pids += 1
        self.pid = FakeChild._pids
        self.handlers, self.mute, self.slow = list(handlers), mute, slow
        self.unsent = 0
        self.got: list[Any] = []
        self.runs: dict[int, tuple[int, bytes]] = {}
        self.killed = False
        self.begun: int | None = None
        self.deadline: float | None = None
        self._unread = bytearray()  # as in a socket: whoever comes first reads it
        self._readable = trio.Event()
        self._cutter = frames.Cutter()
        self._code: int | None = None
        self._exited = trio.Event()

    def share_deadline(self, at: float | None) -> None:
        self.deadline = at

    def send(self, data: bytes) -> None:
        for body in self._cutter.feed(data):
            frame = frames.for_executor(body)
            self.got.append(frame)
            match frame:
                case frames.Boot() if not self.mute:
                    self.say(frames.Ready(self.handlers))
                case frames.Ping(number=number) if not self.mute:
                    self.say(frames.Pong(number, len(self.runs), 0.0))
                case frames.Run():
                    pairs = zip(frame.ids, frame.attempts, strict=True)
                    self.runs |= {task: (attempt, frame.key) for task, attempt in pairs}
                case frames.Leave():
                    self.exit(0)

    def all(self, kind: type[Any]) -> list[Any]:
        return [frame for frame in self.got if isinstance(frame, kind)]

    def say(self, frame: frames.ToNode) -> None:
        if self._code is None:
            self.write(frames.encode(frame))

    def write(self, data: bytes) -> None:
        self._unread += data
        self._readable.set()

    def finish(self, *ids: int, kind: Outcome = Outcome.SUCCEEDED, body: bytes = b"null") -> None:
        for task in ids:
            attempt, key = self.runs.pop(task)
            self.say(frames.Done(key, [task], [attempt], [kind], [len(body)], body))

    def exit(self, code: int) -> None:
        if self._code is None:
            self._code = code
            self._readable.set()
            self._exited.set()

    async def pump(self) -> None:
        await trio.sleep_forever()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._unread and self._code is None:
            self._readable = trio.Event()
            await self._readable.wait()
        return self.receive_rest()

    def receive_rest(self) -> bytes:
        found = bytes(self._unread)
        self._unread.clear()
        return found

    def kill(self) -> None:
        self.killed = True
        self.exit(-9)

    async def wait(self) -> int:
        await self._exited.wait()
        assert self._code is not None
        return self._code

    def close(self) -> None:
        self._unread.clear()


class Children:
    """Launches fake executors and remembers them."""

    def __init__(self, make: Callable[[int], FakeChild] = lambda number: FakeChild()) -> None:
        self._make = make
        self.all: list[FakeChild] = []

    async def launch(self) -> FakeChild:
        await trio.lowlevel.checkpoint()
        self.all.append(self._make(len(self.all)))
        return self.all[-1]

    def __getitem__(self, index: int) -> FakeChild:
        return self.all[index]

    def __len__(self) -> int:
        return len(self.all)


class FakeCoordinator:
    """The other end of links, in memory. A test plays the coordinator with `hear` and `say`."""

    def __init__(self, terms: LeaseTerms) -> None:
        self.terms = terms
        self.away: set[str] = set()  # addresses that can't be dialled
        self.dialled: list[str] = []
        self.streams: list[FakeStream] = []
        self._arrived = trio.Event()

    @asynccontextmanager
    async def dial(self, address: str, terms: LeaseTerms) -> AsyncIterator[wire.WorkerEnd]:
        await trio.lowlevel.checkpoint()
        self.dialled.append(address)
        if address in self.away:
            raise LinkLost(f"{address}: connection refused")
        stream = FakeStream(address, self.terms)
        self.streams.append(stream)
        self._arrived.set()
        try:
            yield stream.worker_end
        finally:
            stream.close()

    async def accept(self) -> FakeStream:
        """The next stream that was opened."""
        while not self.streams:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self.streams.pop(0)


class FakeStream:
    def __init__(self, address: str, terms: LeaseTerms, room: int = 100) -> None:
        self.address, self.terms = address, terms
        self._to_worker, worker_incoming = trio.open_memory_channel[wire.CoordinatorMessage](1000)
        worker_outgoing, self.incoming = trio.open_memory_channel[wire.WorkerMessage](room)
        self.worker_end = wire.WorkerEnd(address, worker_incoming, worker_outgoing)

    def close(self) -> None:
        self._to_worker.close()
        self.worker_end.outgoing.close()

    def say(self, message: wire.CoordinatorMessage) -> None:
        self._to_worker.send_nowait(message)

    async def hear(self, kind: type[Any]) -> Any:
        """The next message of this kind; others are passed over."""
        async for message in self.incoming:
            if isinstance(message, kind):
                return message
        raise AssertionError(f"the stream ended before {kind.__name__}")

    async def welcome(self, session: int = 1, *, epoch: int = 1, resumed: bool = False, **more: Any) -> wire.Hello:
        hello = await self.hear(wire.Hello)
        assert isinstance(hello, wire.Hello)
        self.say(
            wire.Welcome(
                session=session,
                epoch=epoch,
                terms=self.terms,
                coordinators=more.get("coordinators", [self.address]),
                stop=more.get("stop", []),
                resumed=resumed,
                unnamed=more.get("unnamed", []),
            )
        )
        return hello

    def reply(self, beat: wire.Heartbeat, lease: wire.Lease = wire.Lease.RENEWED) -> None:
        ok = lease is not wire.Lease.FROZEN
        self.say(
            wire.HeartbeatReply(
                sequence=beat.sequence,
                lease=lease,
                confirmed=beat.sequence if ok else 0,
                coordinators=[],
                database_ok=ok,
                database_age=0.0 if ok else 5.0,
            )
        )

    async def answer_beats(self, lease: Callable[[], wire.Lease | None]) -> None:
        """Answers heartbeats until the stream ends; None: not at all. Commits every report."""
        async for message in self.incoming:
            if isinstance(message, wire.Heartbeat):
                value = lease()
                if value is not None:
                    self.reply(message, value)
