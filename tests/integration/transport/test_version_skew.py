"""What a newer release may say over a real stream: fields and messages that this one does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio
from grpclib.const import Cardinality
from trio_asyncio import aio_as_trio

from actors.model import link as model
from actors.model.lease import TEST
from protos.generated.callboard import v1 as wire
from tests.support.links import LIMIT, Hub, beat, expect, hello, sign_in
from transport.channel import open_channel
from transport.client import CONNECT, dial
from transport.codec import coordinator_to_wire, worker_to_wire
from transport.server import open_grpc_server

FIELD = b"\xfa\x3e\x03abc"  # number 1007, three bytes


class Raw:
    """Bytes that travel as a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        return self._data


def with_unknown_fields(message: Any) -> Raw:
    """At the top and within."""
    [(number, inner)] = [(data[0], data) for data in [bytes(message)]]
    size, at = inner[1], 2
    if size & 0x80:
        size, at = (size & 0x7F) | inner[2] << 7, 3
    body = inner[at : at + size] + FIELD
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 0x7F | 0x80, len(body) >> 7])
    return Raw(bytes([number]) + length + body + FIELD)


async def test_a_coordinator_ignores_fields_and_takes_messages_that_it_does_not_know(loop: None) -> None:
    hub = Hub()
    async with (
        open_grpc_server("127.0.0.1", 0, link=hub) as port,
        open_channel(f"http://127.0.0.1:{port}", LIMIT) as channel,
    ):
        shape: Any = Cardinality.STREAM_STREAM

        async def talk() -> None:
            opened: Any = channel.request(CONNECT, shape, wire.WorkerMessage, wire.CoordinatorMessage)
            async with opened as stream:
                for message in (hello(), beat(1)):
                    [one] = worker_to_wire(message)
                    await stream.send_message(with_unknown_fields(one))
                    assert await stream.recv_message() is not None
                await stream.send_message(Raw(FIELD))
                [one] = worker_to_wire(beat(2))
                await stream.send_message(one)
                answer = await stream.recv_message()
                assert answer.heartbeat_reply.sequence == 2
                await stream.cancel()

        with trio.fail_after(LIMIT):
            await aio_as_trio(talk)()
    assert [type(one) for one in hub.heard] == [model.Heartbeat, model.Unknown, model.Heartbeat]
    assert hub.heard[0] == beat(1)


async def test_a_worker_ignores_fields_and_takes_messages_that_it_does_not_know(
    loop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(message: model.CoordinatorMessage) -> Iterator[Any]:
        if isinstance(message, model.Pause):
            yield Raw(FIELD)
        else:
            yield from map(with_unknown_fields, coordinator_to_wire(message))

    monkeypatch.setattr("transport.links.coordinator_to_wire", newer)
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port, dial(f"http://127.0.0.1:{port}", TEST) as end:
        assert (await sign_in(end)).session == 1
        await hub.ends[0].outgoing.send(model.Pause(True))
        assert isinstance(await expect(end.incoming, model.Unsupported), model.Unknown)
        await end.outgoing.send(beat(1))
        assert (await expect(end.incoming, model.HeartbeatReply)).sequence == 1
