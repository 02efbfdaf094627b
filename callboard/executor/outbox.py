"""What goes to the node: outcomes as columns, one frame for each lease key, and single frames before them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec
import trio

from callboard.executor import frames
from callboard.executor.attempt import Attempt
from callboard.executor.bodies import clean
from callboard.executor.frames import Done, encode

MAX_FRAME = 4 * 1024 * 1024  # bytes of bodies in one frame
MAX_MESSAGE = 1024  # bytes of a progress message

_encode_json = msgspec.json.Encoder().encode


class Columns:
    """Outcomes of one lease key."""

    __slots__ = ("attempts", "bodies", "ids", "kinds")

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.attempts: list[int] = []
        self.kinds: list[int] = []
        self.bodies: list[bytes] = []


class Outbox:
    """Filled on Trio's thread without waiting, emptied by one writer.

    Bounded by what the node assigned: an attempt has one outcome, at most one unsent progress value, one start.
    """

    def __init__(self) -> None:
        self.outcomes = 0  # that wait to be sent
        self._columns: dict[bytes, Columns] = {}
        self._frames: list[bytes] = []
        self._parked = trio.lowlevel.ParkingLot()
        self._sending = False

    def put(self, frame: frames.ToNode) -> None:
        """Sent before the outcomes that are added later."""
        self._frames.append(encode(frame))
        self._parked.unpark()

    def add(self, attempt: Attempt, kind: int, body: bytes) -> None:
        """An outcome; the attempt's last progress goes before it."""
        if attempt.progress is not None:
            self.put_progress(attempt)
        columns = self._columns.get(attempt.key)
        if columns is None:
            columns = self._columns[attempt.key] = Columns()
        columns.ids.append(attempt.id)
        columns.attempts.append(attempt.number)
        columns.kinds.append(kind)
        columns.bodies.append(body)
        self.outcomes += 1
        if self.outcomes == 1:  # the writer's turn comes when the runners give up theirs: until then all is one batch
            self._parked.unpark()

    def put_progress(self, attempt: Attempt) -> None:
        """Sends the newest value. A thread that sets another one meanwhile is heard again, or comes too late."""
        value, attempt.progress = attempt.progress, None
        if value is not None:
            message = None if value.message is None else clean(value.message, MAX_MESSAGE)
            text = _encode_json({"done": value.done, "total": value.total, "message": message}).decode()
            self.put(frames.Progress(attempt.id, attempt.number, text))

    @property
    def is_empty(self) -> bool:
        return not self._sending and not self._frames and not self._columns

    async def run(self, stream: trio.abc.SendStream) -> None:
        """Sends until cancelled. Raises what the stream raises."""
        while True:
            while not self._frames and not self._columns:
                await self._parked.park()
            self._sending = True
            await stream.send_all(self._take())
            self._sending = False

    def _take(self) -> bytes:
        waiting, self._frames = self._frames, []
        columns, self._columns = self._columns, {}
        self.outcomes = 0
        for key, one in columns.items():
            waiting += map(encode, _cut(key, one))
        return b"".join(waiting)


def _cut(key: bytes, columns: Columns) -> Iterator[Done]:
    """Frames of bounded size; mostly one."""
    sizes = list(map(len, columns.bodies))
    if sum(sizes) <= MAX_FRAME:
        yield Done(key, columns.ids, columns.attempts, columns.kinds, sizes, b"".join(columns.bodies))
        return
    step = max(1, MAX_FRAME // max(sizes))
    rows = zip(columns.ids, columns.attempts, columns.kinds, columns.bodies, strict=True)
    while part := list(islice(rows, step)):
        ids, attempts, kinds, bodies = map(list, zip(*part, strict=True))
        yield Done(key, ids, attempts, kinds, list(map(len, bodies)), b"".join(bodies))
