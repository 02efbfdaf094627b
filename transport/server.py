"""The gRPC server of a node: links, tasks, workers, health and reflection on one port."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Method
from grpclib.exceptions import GRPCError
from grpclib.health.check import ServiceCheck
from grpclib.health.service import OVERALL, Health
from grpclib.protocol import H2Protocol
from grpclib.reflection.service import ServerReflection
from grpclib.server import Handler, Server
from trio_asyncio import aio_as_trio

from actors.model.errors import ConfigurationError
from actors.model.link import LinkHandler
from actors.model.ports import TaskStore
from actors.model.queue import QueueStore
from actors.model.schedule_port import ScheduleStore
from transport.coordinator import CoordinatorService, Supervision
from transport.descriptors import served
from transport.limits import CONFIG, Connections, Protocol
from transport.links import LinkService
from transport.queues import QueueCalls
from transport.scheduler import SchedulerService, Submit, WaitFinal
from transport.schedules import ScheduleCalls
from transport.service import Service
from transport.wire import Codec

log = logging.getLogger(__name__)

BACKLOG = 128  # connections that wait to be accepted; a fleet that comes back comes back with jitter
HEALTH_EVERY = 1.0  # seconds that an answer of `healthy` is good for
# Steps of the end, in seconds: streams and calls, goodbyes, and what is left.
CLOSE_LIMIT, GOODBYE_LIMIT, CUT_LIMIT = 2.0, 0.5, 0.5


class _Methods(dict[str, Method]):
    """What is served; every other method says so in a way that clients understand."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name) or Method(_unknown, Cardinality.STREAM_STREAM, bytes, bytes)


async def _unknown(stream: Any) -> None:
    """asyncio-flavoured."""
    raise GRPCError(Status.UNIMPLEMENTED, "this node does not serve that; its reflection lists what it serves")


class _Server(Server):
    """grpclib's, with our limits for each connection, and a list of those that are open."""

    def __init__(self, services: Sequence[Any]) -> None:
        super().__init__(services, codec=Codec(), config=CONFIG)
        self._mapping = _Methods(self._mapping)
        self.connections = Connections()

    def _protocol_factory(self) -> H2Protocol:
        self.__gc_step__()
        handler = Handler(self._mapping, self._codec, self._status_details_codec, self.__dispatch__)
        self._handlers.add(handler)
        return Protocol(handler, self._config, self._h2_config, self.connections)


@asynccontextmanager
async def open_grpc_server(
    host: str,
    port: int,
    *,
    token: str | None = None,
    link: LinkHandler | None = None,
    tasks: TaskStore | None = None,
    submit: Submit | None = None,
    wait_final: WaitFinal | None = None,
    schedules: ScheduleStore | None = None,
    queues: QueueStore | None = None,
    supervision: Supervision | None = None,
    healthy: Callable[[], bool] = lambda: True,
    close_limit: float = CLOSE_LIMIT,
) -> AsyncIterator[int]:
    """Serves on host and port, 0 for a free one; yields the port. Must be inside `open_loop`.

    WorkerLink is served with `link`; Scheduler with `tasks`, `submit` and `wait_final`, its calls about schedules
    and queues with `schedules` and `queues`; Coordinator with `tasks` and `supervision`; health and reflection always,
    and without a token.
    Leaving ends every stream, and takes at most `close_limit` + 1 seconds. Raises ConfigurationError when the address
    can't be bound.
    """
    services: list[Service] = []
    links = LinkService(link) if link is not None else None
    if links is not None:
        services.append(links)
    if tasks is not None and submit is not None and wait_final is not None:
        scheduler = SchedulerService(tasks, submit, wait_final, token)
        if schedules is not None:
            ScheduleCalls(schedules).add_to(scheduler, token)
        if queues is not None:
            QueueCalls(queues).add_to(scheduler, token)
        services.append(scheduler)
    if tasks is not None and supervision is not None:
        services.append(CoordinatorService(tasks, supervision, token))
    listener = await _bind(host, port)
    with contextlib.closing(listener):
        server = await aio_as_trio(_start)(services, healthy, listener)
        try:
            yield listener.getsockname()[1]
        finally:
            await _stop(server, links, close_limit)


async def _bind(host: str, port: int) -> socket.socket:
    """A listening socket; a host of "::" takes IPv4 as well."""
    try:
        found = await trio.socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG * (not host)
        )
        family, _, _, _, address = found[0]
        # Only a socket that says TCP gets its small messages sent at once by asyncio and grpclib.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError([_cannot_bind(host, port, error)]) from error
    return listener


def _cannot_bind(host: str, port: int, error: OSError) -> str:
    where = f"gRPC can't listen on {host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: another program uses it; choose another with --grpc-port or CALLBOARD_GRPC_PORT, or 0"
    if error.errno == errno.EACCES:
        return f"{where}: ports below 1024 need rights that this user lacks; choose a higher one with --grpc-port"
    if isinstance(error, socket.gaierror):
        return f"{where}: the host name is not known; check --host or CALLBOARD_HOST"
    return f"{where}: {os.strerror(error.errno) if error.errno else error}; check --host and --grpc-port"


async def _start(services: list[Service], healthy: Callable[[], bool], listener: socket.socket) -> _Server:
    """asyncio-flavoured: grpclib takes the loop of whoever builds it."""

    async def ask() -> bool:
        return healthy()

    check = ServiceCheck(ask, check_ttl=HEALTH_EVERY, check_timeout=HEALTH_EVERY)
    health = Health({OVERALL: [check], **{service: [check] for service in services}})
    server = _Server(ServerReflection.extend([*services, health], pool=served()))
    await server.start(sock=listener)
    return server


async def _stop(server: _Server, links: LinkService | None, limit: float) -> None:
    """In steps, each bounded: calls are told, actors leave, connections are closed, then cut."""
    server.close()
    if links is not None:
        with trio.move_on_after(limit, shield=True):
            await links.wait_left()
        links.kick()
    for connection in list(server.connections.open):
        connection.say_goodbye()
    with trio.move_on_after(GOODBYE_LIMIT, shield=True):
        await server.connections.wait_closed()
    for connection in list(server.connections.open):
        connection.abort()
    # On Python 3.12 and later this waits for every connection; all of them are closed by now.
    with trio.move_on_after(CUT_LIMIT, shield=True):
        await aio_as_trio(server.wait_closed)()
