"""The worker's end of links: streams as channels, and the large payloads beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, StreamTerminatedError
from trio_asyncio import aio_as_trio

from actors.model import link as model
from actors.model.errors import LinkLost
from actors.model.lease import LeaseTerms
from actors.model.worker import Held
from protos.generated.callboard import v1 as wire
from transport.channel import ask, open_channel
from transport.codec import coordinator_from_wire, worker_to_wire
from transport.large import fill_large, is_large, result_to_wire, to_fetch
from transport.status import from_grpc
from transport.stream import Duplex

CONNECT = "/callboard.v1.WorkerLink/Connect"
FETCHES = 8  # payloads fetched at once
BEHIND = 256  # assignments and cancels that may wait for a payload before them
LEAVE_LIMIT = 0.5  # seconds for what was said last, and for the other end's goodbye


class _Link:
    """The worker's end of one stream."""

    def __init__(self, address: str, channel: Channel, limit: float) -> None:
        self._address, self._channel, self._limit = address, channel, limit
        self._session, self._secret = 0, b""
        self.duplex: Duplex[model.CoordinatorMessage, model.WorkerMessage] = Duplex(
            decode=coordinator_from_wire, encode=self._encode, route=self._route
        )
        # Assignments and cancels stay in their order, also when one of them must wait for its payloads;
        # everything else passes them.
        self._behind, self._in_order = trio.open_memory_channel[model.CoordinatorMessage](BEHIND)
        self._waiting = 0
        self._uploads, self._to_upload = trio.open_memory_channel[model.Report](BEHIND)
        self._stream: Any = None
        self._leaving = asyncio.Event()
        self._left = trio.Event()

    def _route(self, message: model.CoordinatorMessage) -> trio.MemorySendChannel[model.CoordinatorMessage]:
        match message:
            case model.Welcome(session=session):
                self._session = session
            case model.Assign(assignment=assignment) if self._waiting or to_fetch(assignment):
                self._waiting += 1
                return self._behind
            case model.Cancel() if self._waiting:
                self._waiting += 1
                return self._behind
        return self.duplex.inbox

    def _encode(self, message: model.WorkerMessage) -> Iterator[wire.WorkerMessage]:
        if isinstance(message, model.Hello):
            self._secret = message.secret
        elif isinstance(message, model.Report) and is_large(message):
            try:
                self._uploads.send_nowait(message)
            except trio.WouldBlock:
                raise LinkLost(f"{self._address} is too slow in taking large outcomes") from None
            return iter(())
        return worker_to_wire(message)

    async def hold(self, ready: Callable[[Any], None]) -> None:
        """asyncio-flavoured. Keeps the call open, from its first header to its last."""
        try:
            async with self._channel.request(
                CONNECT, Cardinality.STREAM_STREAM, wire.WorkerMessage, wire.CoordinatorMessage
            ) as stream:
                await stream.send_request()
                self._stream = stream
                ready(stream)
                await self._leaving.wait()
                await stream.end()
        except Exception as error:
            self.duplex.fail(error)
        finally:
            self._left.set()

    def trouble(self) -> BaseException | None:
        """What ended the stream: the status, when the server said one before it reset the stream."""
        trouble = self.duplex.trouble
        if isinstance(trouble, StreamTerminatedError) and self._stream is not None:
            try:
                self._stream._maybe_raise()
            except GRPCError as status:
                return status
        return trouble

    async def fetch(self) -> None:
        """Trio-flavoured. Completes assignments whose payloads travel beside the stream."""
        async for message in self._in_order:
            try:
                if isinstance(message, model.Assign):
                    message = await self._complete(message)
                await self.duplex.inbox.send(message)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the link has ended
            except Exception as error:
                self.duplex.fail(error)
                return
            self._waiting -= 1

    async def _complete(self, message: model.Assign) -> model.Assign:
        fetched: dict[Held, bytes] = {}
        troubles: list[Exception] = []
        room = trio.CapacityLimiter(FETCHES)

        async def one(held: Held) -> None:
            key = wire.PayloadKey(
                session=self._session,
                secret=self._secret,
                id=held.task_id,
                attempt=held.attempt,
                key=held.lease_key,
            )
            async with room:
                try:
                    answer = await self._ask("FetchPayload", key, wire.Payload)
                except LinkLost as error:
                    troubles.append(error)
                else:
                    fetched[held] = bytes(answer.args)

        async with trio.open_nursery() as nursery:
            for held in to_fetch(message.assignment):
                nursery.start_soon(one, held)
        if troubles:
            raise troubles[0]
        return model.Assign(fill_large(message.assignment, fetched))

    async def upload(self) -> None:
        """Trio-flavoured. Sends outcomes that are too large for the stream; they are acknowledged on it."""
        async for report in self._to_upload:
            try:
                await self._ask("StoreResult", result_to_wire(report, self._session, self._secret), wire.Stored)
            except LinkLost as error:
                self.duplex.fail(error)
                return

    async def _ask(self, method: str, message: Any, answer: type[Any]) -> Any:
        """Raises LinkLost: whatever is wrong, a new link starts from what both ends know."""
        try:
            return await ask(
                self._channel, self._address, f"WorkerLink/{method}", message, answer, token=None, limit=self._limit
            )
        except LinkLost:
            raise
        except Exception as error:
            raise LinkLost(f"{self._address}: {method}: {error}") from error

    async def leave(self) -> None:
        """Trio-flavoured. Says what is left to say, and goodbye."""
        self.duplex.outgoing.close()
        with trio.move_on_after(LEAVE_LIMIT, shield=True):
            await self.duplex.written.wait()
            self._leaving.set()
            await self._left.wait()
        self.duplex.stop()


@asynccontextmanager
async def dial(address: str, terms: LeaseTerms) -> AsyncIterator[model.WorkerEnd]:
    """Opens a link to the coordinator at http://host:port. Must be inside `open_loop`.

    Raises LinkLost: at once when it can't be reached within `connect_limit`, on leaving when the stream broke.
    Errors of the block come out in a group.
    """
    trouble: BaseException | None = None
    async with open_channel(address, terms.connect_limit) as channel:
        link = _Link(address, channel, limit=terms.lease)
        async with trio.open_nursery() as nursery:
            stream = await _opened(link, terms.connect_limit, nursery)
            if stream is None:
                trouble = link.trouble() or TimeoutError()
            else:
                nursery.start_soon(link.duplex.run, stream)
                nursery.start_soon(link.fetch)
                nursery.start_soon(link.upload)
                try:
                    yield model.WorkerEnd(address, link.duplex.incoming, link.duplex.outgoing)
                except Exception as error:
                    explained = _explained(error, link.trouble(), address)
                    if explained is error:
                        raise
                    raise explained from error
                finally:
                    trouble = link.trouble()
                    await link.leave()
                    nursery.cancel_scope.cancel("the link is closed")
                    if trouble is None and isinstance(link.trouble(), GRPCError):  # it came with the stream's end
                        trouble = link.trouble()
            nursery.cancel_scope.cancel("the link is closed")
        if trouble is not None:
            raise _lost(trouble, address)


async def _opened(link: _Link, limit: float, nursery: trio.Nursery) -> Any:
    """The stream; None when it could not be opened."""
    streams: list[Any] = []
    ready = trio.Event()

    def take(stream: Any) -> None:
        streams.append(stream)
        ready.set()

    async def hold() -> None:
        await aio_as_trio(link.hold)(take)
        ready.set()

    nursery.start_soon(hold)
    with trio.move_on_after(limit):
        await ready.wait()
    return streams[0] if streams else None


def _explained(error: Exception, trouble: BaseException | None, address: str) -> Exception:
    """An error of the block, with what is known of the stream's end."""
    if trouble is None:
        return error
    if isinstance(error, LinkLost):
        return _lost(trouble, address)
    error.add_note(f"the link had failed: {trouble}")
    return error


def _lost(error: BaseException, address: str) -> LinkLost:
    meant = from_grpc(error, address)
    return meant if isinstance(meant, LinkLost) else LinkLost(f"{address}: {meant}")
