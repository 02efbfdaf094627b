"""The coordinator's end of links: streams as channels for the link actors, and the large payloads beside them."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterator
from typing import Any

import trio
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream
from trio_asyncio import trio_as_aio

from actors.model import link as model
from actors.model.errors import AccessDenied, LinkLost, NotFound
from actors.model.worker import Held
from protos.generated.callboard import v1 as wire
from transport.codec import coordinator_to_wire, worker_from_wire
from transport.columns import one_key
from transport.large import cut_large, result_from_wire
from transport.service import Service, unary
from transport.status import to_grpc
from transport.stream import Duplex

log = logging.getLogger(__name__)

LEAVE_LIMIT = 5.0  # seconds that a link's actor has to leave when its stream has ended
FLUSH_LIMIT = 1.0  # seconds for what the actor said last
DELIVER_LIMIT = 5.0  # seconds that a large outcome waits for room in its link's channel


class _Link:
    """One stream."""

    def __init__(self, service: LinkService, peer: str) -> None:
        self._service, self.peer = service, peer
        self.session = 0
        self.secret = b""
        self.kept: dict[Held, bytes] = {}  # large payloads until they are fetched; at most what this link holds
        self.duplex: Duplex[model.WorkerMessage, model.CoordinatorMessage] = Duplex(
            decode=worker_from_wire, encode=self._encode, route=self._route
        )
        self._scope = trio.CancelScope()

    def _route(self, message: model.WorkerMessage) -> trio.MemorySendChannel[model.WorkerMessage]:
        if isinstance(message, model.Hello) and not self.secret:
            self.secret = message.secret
        return self.duplex.inbox

    def _encode(self, message: model.CoordinatorMessage) -> Iterator[wire.CoordinatorMessage]:
        if isinstance(message, model.Welcome):
            self.session = message.session
            self._service.by_session[message.session] = self  # a newer link of a session replaces the older
        elif isinstance(message, model.Assign):
            assignment, large = cut_large(message.assignment)
            if large:
                self.kept |= large
                message = model.Assign(assignment)
        return coordinator_to_wire(message)

    async def run(self, stream: Stream[Any, Any]) -> None:
        """Trio-flavoured. Serves the link until its actor has left; raises nothing but Cancelled."""
        end = model.CoordinatorEnd(self.peer, self.duplex.incoming, self.duplex.outgoing)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.duplex.run, stream)
                    await self._act(end)
                    self.duplex.outgoing.close()
                    with trio.move_on_after(FLUSH_LIMIT):
                        await self.duplex.written.wait()
                    self.duplex.stop()
        finally:
            if self._service.by_session.get(self.session) is self:
                del self._service.by_session[self.session]
            self.kept.clear()

    async def _act(self, end: model.CoordinatorEnd) -> None:
        try:
            await self._service.handler(end)
        except Exception as error:  # one link's crash is not its siblings'
            log.error("the link from %s crashed", self.peer, exc_info=error)
            self.duplex.fail(LinkLost("the coordinator's end of this link crashed"))

    def gone(self) -> None:
        """The peer has vanished, or the server stops: the actor reads what has arrived, and leaves."""
        self.duplex.stop()
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + LEAVE_LIMIT)

    def kick(self) -> None:
        self._scope.cancel("the server has stopped")


class LinkService(Service):
    """callboard.v1.WorkerLink."""

    def __init__(self, handler: model.LinkHandler) -> None:
        super().__init__("WorkerLink")
        self.handler = handler
        self.by_session: dict[int, _Link] = {}
        self._links: set[_Link] = set()
        self._empty = trio.Event()
        self.add(
            "Connect", Handler(self._connect, Cardinality.STREAM_STREAM, wire.WorkerMessage, wire.CoordinatorMessage)
        )
        self.add("FetchPayload", unary(self._fetch, wire.PayloadKey, wire.Payload, sent=self._fetched))
        self.add("StoreResult", unary(self._store, wire.LargeResult, wire.Stored))

    async def _connect(self, stream: Stream[wire.WorkerMessage, wire.CoordinatorMessage]) -> None:
        """asyncio-flavoured. The actor outlives the call by a moment when the peer vanishes."""
        address = stream.peer.addr()
        link = _Link(self, address[0] if address else "")
        self._links.add(link)
        try:
            await stream.send_initial_metadata()
            serving = trio_as_aio(link.run)(stream)
            serving.add_done_callback(lambda _: self._left(link))
        except BaseException:
            self._left(link)
            raise
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            link.gone()
            raise
        except Exception as error:
            raise to_grpc(error) from None
        if link.duplex.trouble is not None:
            raise to_grpc(link.duplex.trouble) from None

    def _left(self, link: _Link) -> None:
        self._links.discard(link)
        if not self._links:
            self._empty.set()

    # --- beside the stream ------------------------------------------------------------------------

    def _find(self, session: int, secret: bytes) -> _Link:
        link = self.by_session.get(session)
        if link is None or not hmac.compare_digest(link.secret, secret):
            raise AccessDenied("there is no link of this session with this secret here")
        return link

    async def _fetch(self, message: wire.PayloadKey) -> wire.Payload:
        link = self._find(message.session, bytes(message.secret))
        args = link.kept.get(Held(message.id, message.attempt, one_key(message.key)))
        if args is None:
            raise NotFound("there is no such payload here, or it has been fetched")
        return wire.Payload(args=args)

    def _fetched(self, message: wire.PayloadKey) -> None:
        link = self.by_session.get(message.session)
        if link is not None:
            link.kept.pop(Held(message.id, message.attempt, bytes(message.key)), None)

    async def _store(self, message: wire.LargeResult) -> wire.Stored:
        link = self._find(message.session, bytes(message.secret))
        report = result_from_wire(message)
        with trio.move_on_after(DELIVER_LIMIT):
            try:
                await link.duplex.inbox.send(report)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise LinkLost("the link has ended") from None
            return wire.Stored()
        raise LinkLost("the link does not take it in time")

    # --- stopping ---------------------------------------------------------------------------------

    async def wait_left(self) -> None:
        """Trio-flavoured. Waits until no link's actor is left."""
        while self._links:
            self._empty = trio.Event()
            await self._empty.wait()

    def kick(self) -> None:
        """Cancels the actors that are left."""
        for link in self._links:
            link.kick()
