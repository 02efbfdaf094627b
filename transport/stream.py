"""A stream in both directions as a pair of Trio channels; the same code at either end.

Messages change sides without a crossing each: asyncio's reader puts into Trio's channel, and Trio's sender leaves
messages in a small box and wakes asyncio's writer. Only a reader whose channel is full crosses, to wait::

    peer ─▶ asyncio reader ─▶ decode ─▶ incoming ─▶ actor
    peer ◀─ asyncio writer ◀─ box ◀─ encode ◀─ outgoing ◀─ actor
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import trio
from trio_asyncio import aio_as_trio, trio_as_aio

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

INCOMING = 64  # messages; when full, the reader stops, and HTTP/2's flow control stops the peer
OUTGOING = 256  # messages; when full, the peer does not read, and the actor is told by WouldBlock
BOX = 4  # messages between Trio's sender and asyncio's writer; more only hides what waits


class RawStream(Protocol):
    """What grpclib's streams have in common at both ends. asyncio-flavoured."""

    async def recv_message(self) -> Any: ...
    async def send_message(self, message: Any) -> None: ...


class Duplex(Generic[In, Out]):
    """Carries messages until the peer ends the stream, something fails, or it is told to stop.

    `encode` gives none, one or several messages for one; `route` names the channel that a message goes to.
    """

    def __init__(
        self,
        *,
        decode: Callable[[Any], In],
        encode: Callable[[Out], Iterable[Any]],
        route: Callable[[In], trio.MemorySendChannel[In]] | None = None,
    ) -> None:
        self.inbox, self.incoming = trio.open_memory_channel[In](INCOMING)
        self.outgoing, self._outbox = trio.open_memory_channel[Out](OUTGOING)
        self._decode, self._encode = decode, encode
        self._route = route or (lambda _: self.inbox)
        self.trouble: BaseException | None = None  # what ended it; None: the peer ended it in order
        self.written = trio.Event()  # everything is sent, or nothing more will be
        self._box: deque[Any] = deque()
        self._filled, self._room = asyncio.Event(), trio.Event()
        self._no_more = False
        self._scope = trio.CancelScope()

    async def run(self, stream: RawStream) -> None:
        """Trio-flavoured. Returns when both directions have ended; raises nothing but Cancelled."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send)
                    nursery.start_soon(aio_as_trio(self._write), stream)
                    await aio_as_trio(self._read)(stream)
        finally:
            self._close()
            self.written.set()

    def fail(self, error: BaseException) -> None:
        """Ends both directions; may be called from either flavour."""
        if self.trouble is None:
            self.trouble = error
        self._close()
        self._scope.cancel(f"the stream has failed: {error}")

    def stop(self) -> None:
        """Ends both directions in order."""
        self._close()
        self._scope.cancel("the stream is over")

    def _close(self) -> None:
        self.inbox.close()
        self._outbox.close()

    # --- peer → actor -----------------------------------------------------------------------------

    async def _read(self, stream: RawStream) -> None:
        """asyncio-flavoured."""
        try:
            while (message := await stream.recv_message()) is not None:
                item = self._decode(message)
                channel = self._route(item)
                try:
                    channel.send_nowait(item)
                except trio.WouldBlock:
                    await trio_as_aio(channel.send)(item)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the actor has left: what the peer still says has no reader
        except Exception as error:
            self.fail(error)
        finally:
            self.inbox.close()

    # --- actor → peer -----------------------------------------------------------------------------

    async def _send(self) -> None:
        """Trio-flavoured. Ends when the actor closes its channel."""
        try:
            async for message in self._outbox:
                for made in self._encode(message):
                    while len(self._box) >= BOX:
                        self._room = trio.Event()
                        await self._room.wait()
                    self._box.append(made)
                    self._filled.set()
        except trio.ClosedResourceError:
            pass  # closed by stop or fail
        except Exception as error:
            self.fail(error)
        finally:
            self._no_more = True
            self._filled.set()

    async def _write(self, stream: RawStream) -> None:
        """asyncio-flavoured."""
        try:
            while True:
                while self._box:
                    await stream.send_message(self._box[0])
                    self._box.popleft()
                    self._room.set()
                if self._no_more:
                    return
                self._filled.clear()
                await self._filled.wait()
        except Exception as error:
            self.fail(error)
        finally:
            self.written.set()
