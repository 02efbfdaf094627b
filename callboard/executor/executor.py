"""The parts of an executor put together: reads frames, and connects attempts to what serves them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

import trio

from callboard.errors import CancelReason
from callboard.executor import process
from callboard.executor.attempt import Attempt
from callboard.executor.frames import Boot, Cutter, Deadline, Leave, Ping, Pong, Run, Serving, Stop, ToExecutor
from callboard.executor.frames import for_executor as decode
from callboard.executor.handler import Handler
from callboard.executor.lease import Keeper
from callboard.executor.outbox import Outbox
from callboard.executor.page import Page
from callboard.executor.pool import Pool
from callboard.executor.watch import Watch
from callboard.registry import definitions

log = logging.getLogger(__name__)

LAST_WORDS = 0.5  # seconds that attempts which were told to stop, and unsent outcomes, get at the end
_RECEIVE = 262_144


class Executor:
    """What attempts call their office."""

    def __init__(self, boot: Boot, page: Page | None = None) -> None:
        limiter = trio.CapacityLimiter(boot.slots)  # threads: never more than runners
        handlers = {name: Handler(definition, limiter) for name, definition in definitions.items()}
        self._outbox = Outbox()
        self._pool = Pool(handlers, boot.slots, self._outbox, page)
        self._watch = Watch(self._pool, self._outbox, boot.start_limit)
        self._keeper = Keeper(self._pool, boot.stop_after, page)
        self._thread = threading.get_ident()
        self._services: trio.Nursery

    async def run(self, connection: socket.socket, cutter: Cutter, frames: Iterable[ToExecutor]) -> int:
        """Until the node says so or is gone; then the process ends, whatever still runs in its threads."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._services = nursery
            await nursery.start(self._pool.run)
            for service in (self._watch.run, self._keeper.run):
                nursery.start_soon(service)
            nursery.start_soon(self._write, stream)
            await self._read(stream, cutter, frames)
            with trio.move_on_after(LAST_WORDS):
                while not (self._pool.is_idle and self._outbox.is_empty):  # noqa: ASYNC110 (at most LAST_WORDS)
                    await trio.sleep(0.005)
            process.leave(0)

    async def _write(self, stream: trio.SocketStream) -> None:
        try:
            await self._outbox.run(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            process.leave(0)  # the node is gone: nobody would hear of what runs here

    async def _read(self, stream: trio.SocketStream, cutter: Cutter, frames: Iterable[ToExecutor]) -> None:
        """The only reader. Returns when the node says Leave."""
        for frame in frames:
            if not await self._take(frame):
                return
        while True:
            try:
                data = await stream.receive_some(_RECEIVE)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                process.leave(0)  # the node is gone: nobody would hear of what runs here
            for body in cutter.feed(data):
                if not await self._take(decode(body)):
                    return

    async def _take(self, frame: ToExecutor) -> bool:
        """False for the last one."""
        match frame:
            case Run():
                self._pool.add(frame, self)
            case Stop():
                self._pool.stop(frame.ids, _reason(frame.reason))
            case Deadline():
                self._keeper.renew(frame.at)
            case Ping():
                await self._answer(frame)
            case Leave():
                return False
            case Boot():
                log.error("a second Boot frame; the first one counts")
        return True

    async def _answer(self, ping: Ping) -> None:
        began = trio.current_time()
        await trio.lowlevel.checkpoint()
        self._watch.note_lag(trio.current_time() - began)
        self._outbox.put(Pong(ping.number, self._pool.running, self._watch.lag()))

    def note_progress(self, attempt: Attempt) -> None:
        """From any thread."""
        if threading.get_ident() == self._thread:
            self._watch.note_progress(attempt)
        else:
            self._token.run_sync_soon(self._watch.note_progress, attempt, idempotent=True)

    async def serve(self, attempt: Attempt, app: Callable[..., Any]) -> None:
        """See Context.serve."""
        try:
            from callboard.executor.serve import serve_app
        except ImportError as error:
            raise RuntimeError(f"ctx.serve needs Hypercorn ({error}): pip install 'hypercorn>=0.18,<0.19'") from error
        if attempt.serving:
            raise RuntimeError("this attempt already serves an app; mount both in one")
        attempt.serving = True
        try:
            await serve_app(
                app, self._services, lambda path: self._outbox.put(Serving(attempt.id, attempt.number, path))
            )
        finally:
            attempt.serving = False


def _reason(text: str) -> CancelReason:
    try:
        return CancelReason(text)
    except ValueError:
        log.error("a Stop frame with the reason %r, which is unknown here; the attempts are handed back", text)
        return CancelReason.SESSION
