"""What goes over one stream to a coordinator, and the signs that the stream is no good."""

from __future__ import annotations

import logging
from collections import deque

import trio

from actors.model import link as wire

log = logging.getLogger(__name__)

WAITING = 4_096  # messages besides reports that may wait for a coordinator that does not read


class Stream:
    """One stream, from Welcome to its end. Telling never waits; what the transport does not take waits here.

    Reports are bounded by the ledger, everything else by WAITING.
    """

    def __init__(self, address: str, end: wire.WorkerEnd) -> None:
        self.address, self.end = address, end
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.heard_at = self.answered_at = self.moved_at = trio.current_time()
        self._reported: dict[int, float] = {}  # report → when it was told
        self._waiting: deque[wire.WorkerMessage] = deque()
        self._wake = trio.Event()

    def tell(self, message: wire.WorkerMessage) -> None:
        if isinstance(message, wire.Report):
            self._reported[message.sequence] = trio.current_time()
        if not self._waiting:
            try:
                self.end.outgoing.send_nowait(message)
                return
            except trio.WouldBlock:
                self.moved_at = trio.current_time()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader notices the end; what matters is told again on the next stream
        self._waiting.append(message)
        self._wake.set()
        if len(self._waiting) > WAITING and not isinstance(message, wire.Report):
            self.scope.cancel("the coordinator does not read its stream")

    async def send(self) -> None:
        """Sends what waits, in order, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                try:
                    await self.end.outgoing.send(self._waiting[0])
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                self._waiting.popleft()
                self.moved_at = trio.current_time()

    def answered(self, sequence: int) -> None:
        self._reported.pop(sequence, None)
        self.answered_at = trio.current_time()

    def trouble(self, limit: float, unanswered: float, thawed_at: float) -> str | None:
        """What is wrong with it for more than `limit` seconds, of outcomes `unanswered`; None when it is fine.

        Heartbeats may pass where outcomes don't, so each direction and each kind is judged by itself. While the
        coordinator's database does not answer, unanswered outcomes say nothing: that time does not count.
        """
        now = trio.current_time()
        if now - self.heard_at > limit:
            return f"nothing heard for {limit:g} s"
        if self._waiting and now - self.moved_at > limit:
            return f"it has not read for {limit:g} s"
        oldest = next(iter(self._reported.values()), now)
        if now - max(oldest, self.answered_at, thawed_at) > unanswered:
            return f"outcomes unanswered for {unanswered:g} s"
        return None
