"""What tests of links say, and a coordinator that writes down what it hears."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from actors.model import link as model
from actors.model.columns import Assignment, Outcome, Outcomes
from actors.model.lease import TEST
from actors.model.worker import WorkerInfo

KEY = b"k" * 16
SECRET = b"s" * 32
LIMIT = 5.0  # seconds that any step of a test may take

Talk = Callable[[model.CoordinatorEnd], Awaitable[None]]
M = TypeVar("M")


def hello(name: str = "w") -> model.Hello:
    return model.Hello(worker=WorkerInfo(id=f"{name}-1", name=name, slots=4), secret=SECRET)


def welcome(session: int = 1) -> model.Welcome:
    return model.Welcome(session=session, epoch=1, terms=TEST, coordinators=[], stop=[], resumed=False)


def assign(*payloads: bytes, first: int = 1) -> model.Assign:
    count = len(payloads)
    return model.Assign(
        Assignment(
            KEY,
            list(range(first, first + count)),
            [1] * count,
            ["noop"],
            [0] * count,
            [0] * count,
            [0] * count,
            [len(one) for one in payloads],
            b"".join(payloads),
            1,
        )
    )


def report(sequence: int, *ids: int, body: bytes = b"null") -> model.Report:
    count = len(ids)
    return model.Report(
        sequence,
        Outcomes(
            [KEY], [0] * count, list(ids), [1] * count, [Outcome.SUCCEEDED] * count, [len(body)] * count, body * count
        ),
    )


def beat(sequence: int) -> model.Heartbeat:
    return model.Heartbeat(sequence=sequence, running=0, loop_lag=0.0)


def reply(sequence: int) -> model.HeartbeatReply:
    return model.HeartbeatReply(
        sequence=sequence,
        lease=model.Lease.RENEWED,
        confirmed=sequence,
        coordinators=[],
        database_ok=True,
        database_age=0.0,
    )


async def expect(channel: trio.MemoryReceiveChannel[object], kind: type[M]) -> M:
    """The next message, which must be of this kind."""
    with trio.fail_after(LIMIT):
        message = await channel.receive()
    assert isinstance(message, kind), message
    return message


async def sign_in(end: model.WorkerEnd, name: str = "w") -> model.Welcome:
    await end.outgoing.send(hello(name))
    return await expect(end.incoming, model.Welcome)


class Hub:
    """A coordinator for tests: welcomes, answers heartbeats, and keeps every message and every end."""

    def __init__(self) -> None:
        self.heard: list[model.WorkerMessage] = []
        self.ends: list[model.CoordinatorEnd] = []
        self.left = 0
        self._changed = trio.Event()

    async def __call__(self, end: model.CoordinatorEnd) -> None:
        try:
            if not isinstance(await anext(end.incoming, None), model.Hello):
                return
            self.ends.append(end)
            await end.outgoing.send(welcome(len(self.ends)))
            self._tell()
            async for message in end.incoming:
                self.heard.append(message)
                if isinstance(message, model.Heartbeat):
                    await end.outgoing.send(reply(message.sequence))
                self._tell()
        finally:
            self.left += 1
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(LIMIT):
            while not condition():
                await self._changed.wait()
