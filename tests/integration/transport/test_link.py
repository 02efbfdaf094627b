"""Links over real sockets: both directions, large payloads, and every way to end."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import trio

from actors.model import link as model
from actors.model.columns import Verdict
from actors.model.errors import ConfigurationError, LinkLost
from actors.model.lease import TEST
from actors.model.worker import Held
from protos.generated.callboard import v1 as wire
from tests.support.links import KEY, SECRET, Hub, assign, beat, expect, report, sign_in
from transport.channel import ask, open_channel
from transport.client import dial
from transport.links import LinkService
from transport.server import open_grpc_server

LARGE = b'{"x":"' + b"y" * 200_000 + b'"}'


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def test_both_sides_say_what_they_have_to_say(loop: None) -> None:
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port, dial(at(port), TEST) as end:
        assert (await sign_in(end)).session == 1
        assert hub.ends[0].peer == "127.0.0.1"
        await hub.ends[0].outgoing.send(assign(b"{}", b"{}"))
        got = await expect(end.incoming, model.Assign)
        assert got == assign(b"{}", b"{}")
        await end.outgoing.send(report(1, 1, 2))
        await hub.until(lambda: hub.heard == [report(1, 1, 2)])
        await hub.ends[0].outgoing.send(model.Committed(1, [Verdict.ACCEPTED] * 2))
        assert (await expect(end.incoming, model.Committed)).sequence == 1


async def test_small_messages_do_not_wait_for_others(loop: None) -> None:
    async with open_grpc_server("127.0.0.1", 0, link=Hub()) as port, dial(at(port), TEST) as end:
        await sign_in(end)
        start = trio.current_time()
        for sequence in range(1, 51):
            await end.outgoing.send(beat(sequence))
            assert (await expect(end.incoming, model.HeartbeatReply)).sequence == sequence
        assert trio.current_time() - start < 1.0  # a delayed acknowledgement alone costs 0.04 s each


async def test_it_works_over_ipv6(loop: None) -> None:
    async with open_grpc_server("::1", 0, link=Hub()) as port, dial(f"http://[::1]:{port}", TEST) as end:
        await sign_in(end)


# --- large payloads ---------------------------------------------------------------------------------


async def test_a_large_payload_arrives_within_its_assignment(loop: None) -> None:
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port, dial(at(port), TEST) as end:
        await sign_in(end)
        sent = assign(b"{}", LARGE, b'{"z":1}', LARGE)
        await hub.ends[0].outgoing.send(sent)
        assert await expect(end.incoming, model.Assign) == sent


async def test_heartbeats_pass_a_large_payload_and_cancels_do_not(loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, asked = trio.Event(), trio.Event()
    fetch = LinkService._fetch

    async def slow(service: LinkService, message: wire.PayloadKey) -> wire.Payload:
        asked.set()
        await gate.wait()
        return await fetch(service, message)

    monkeypatch.setattr(LinkService, "_fetch", slow)
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port, dial(at(port), TEST) as end:
        await sign_in(end)
        cancel = model.Cancel([Held(1, 1, KEY)], "cancelled")
        for message in (assign(LARGE), assign(b"{}", first=9), cancel, model.Committed(5, [])):
            await hub.ends[0].outgoing.send(message)
        assert await expect(end.incoming, model.Committed)
        with trio.fail_after(5):
            await asked.wait()
        await end.outgoing.send(beat(1))
        await expect(end.incoming, model.HeartbeatReply)
        gate.set()
        assert await expect(end.incoming, model.Assign) == assign(LARGE)
        assert await expect(end.incoming, model.Assign) == assign(b"{}", first=9)
        assert await expect(end.incoming, model.Cancel) == cancel
        await hub.ends[0].outgoing.send(assign(b"{}", first=10))  # and the short way is open again
        assert (await expect(end.incoming, model.Assign)).assignment.ids == [10]


async def test_a_large_outcome_arrives_as_a_report_and_is_answered_on_the_stream(loop: None) -> None:
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port, dial(at(port), TEST) as end:
        await sign_in(end)
        await end.outgoing.send(report(3, 7, body=LARGE))
        await hub.until(lambda: hub.heard == [report(3, 7, body=LARGE)])
        await hub.ends[0].outgoing.send(model.Committed(3, [Verdict.ACCEPTED]))
        assert (await expect(end.incoming, model.Committed)).verdicts == [Verdict.ACCEPTED]


@pytest.mark.bad_input("GR18")
async def test_payloads_are_given_once_and_to_their_session_only(loop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, gate = Hub(), trio.Event()
    monkeypatch.setattr("transport.client._Link.fetch", lambda _: gate.wait())
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port, dial(at(port), TEST) as end:
        await sign_in(end)
        await hub.ends[0].outgoing.send(assign(LARGE))
        await hub.ends[0].outgoing.send(model.Drain("when this is read, the payload waits"))
        await expect(end.incoming, model.Drain)

        async def fetch(**changes: object) -> bytes:
            values = {"session": 1, "secret": SECRET, "id": 1, "attempt": 1, "key": KEY, **changes}
            key = wire.PayloadKey(**values)  # type: ignore[arg-type]
            async with open_channel(at(port), 2) as channel:
                answer = await ask(channel, "x", "WorkerLink/FetchPayload", key, wire.Payload, token=None, limit=2)
                return bytes(answer.args)

        for changes in ({"session": 2}, {"secret": b"x" * 32}, {"secret": b""}):
            with pytest.raises(Exception, match="no link of this session"):
                await fetch(**changes)
        for changes in ({"id": 2}, {"attempt": 2}, {"key": b"q" * 16}):
            with pytest.raises(Exception, match="no such payload"):
                await fetch(**changes)
        assert await fetch() == LARGE
        with pytest.raises(Exception, match="no such payload"):
            await fetch()


# --- ends -------------------------------------------------------------------------------------------


async def test_what_was_said_last_is_heard(loop: None) -> None:
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port:
        async with dial(at(port), TEST) as end:
            await sign_in(end)
            for sequence in range(100):
                end.outgoing.send_nowait(report(sequence, 1, body=b'"' + b"x" * 20_000 + b'"'))
            await end.outgoing.send(model.Goodbye())
        await hub.until(lambda: hub.left == 1)
        assert len(hub.heard) == 101
        assert hub.heard[-1] == model.Goodbye()


async def test_a_rejection_is_heard_before_the_end(loop: None) -> None:
    async def reject(end: model.CoordinatorEnd) -> None:
        await end.incoming.receive()
        await end.outgoing.send(model.Reject("the token differs", False))

    async with open_grpc_server("127.0.0.1", 0, link=reject) as port, dial(at(port), TEST) as end:
        await end.outgoing.send(model.Draining())
        assert (await expect(end.incoming, model.Reject)).reason == "the token differs"
        with trio.fail_after(2), pytest.raises(trio.EndOfChannel):
            await end.incoming.receive()


async def test_an_actor_reads_what_a_worker_said_before_it_vanished(loop: None) -> None:
    heard: list[object] = []
    go, done = trio.Event(), trio.Event()

    async def slow(end: model.CoordinatorEnd) -> None:
        await go.wait()
        async for message in end.incoming:
            heard.append(message)
        done.set()

    async with open_grpc_server("127.0.0.1", 0, link=slow) as port:
        with trio.move_on_after(5) as scope:
            async with dial(at(port), TEST) as end:
                for sequence in range(5):
                    await end.outgoing.send(beat(sequence))
                await trio.testing.wait_all_tasks_blocked(0.05)
                scope.cancel()
        go.set()
        with trio.fail_after(3):
            await done.wait()
        assert len(heard) == 5


async def test_a_stopped_server_is_a_lost_link_and_closes_in_time(loop: None) -> None:
    async def deaf(end: model.CoordinatorEnd) -> None:
        await trio.sleep_forever()

    ended = trio.Event()

    async def worker(port: int, connected: trio.Event) -> None:
        with pytest.RaisesGroup(LinkLost, allow_unwrapped=True, flatten_subgroups=True):
            async with dial(at(port), TEST) as end:
                connected.set()
                async for _ in end.incoming:
                    pass
        ended.set()

    async with trio.open_nursery() as nursery:
        async with open_grpc_server("127.0.0.1", 0, link=deaf, close_limit=0.3) as port:
            connected = trio.Event()
            nursery.start_soon(worker, port, connected)
            await connected.wait()
            start = trio.current_time()
        assert trio.current_time() - start < 1.5
        with trio.fail_after(2):
            await ended.wait()


async def test_an_actor_that_crashes_ends_its_own_link_only(loop: None, caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub()

    async def moody(end: model.CoordinatorEnd) -> None:
        if not hub.ends:
            await hub(end)
        else:
            raise RuntimeError("a bug")

    caplog.set_level(logging.CRITICAL, logger="grpclib")
    async with open_grpc_server("127.0.0.1", 0, link=moody) as port, dial(at(port), TEST) as end:
        await sign_in(end)
        with pytest.RaisesGroup(LinkLost, allow_unwrapped=True, flatten_subgroups=True):
            async with dial(at(port), TEST) as second:
                await second.outgoing.send(beat(1))
                async for _ in second.incoming:
                    pass
        await end.outgoing.send(beat(1))
        await expect(end.incoming, model.HeartbeatReply)


@pytest.mark.bad_input("GR27")
async def test_a_worker_that_does_not_read_is_noticed(loop: None) -> None:
    hub = Hub()
    async with open_grpc_server("127.0.0.1", 0, link=hub) as port, dial(at(port), TEST) as end:
        await sign_in(end)
        large = assign(b"x" * 60_000)
        with trio.fail_after(5), pytest.raises(trio.WouldBlock):
            while True:
                hub.ends[0].outgoing.send_nowait(large)
                await trio.lowlevel.checkpoint()
        for _ in range(100):  # and when it reads again, everything is there
            await expect(end.incoming, model.Assign)


async def test_nobody_there_is_a_lost_link_at_once(loop: None) -> None:
    async with open_grpc_server("127.0.0.1", 0) as port:
        pass
    with trio.fail_after(2), pytest.raises(LinkLost, match="can't be reached"):
        async with dial(at(port), TEST):
            pass


async def test_a_server_of_another_kind_is_a_lost_link(loop: None) -> None:
    async def mute(stream: trio.SocketStream) -> None:
        async for _ in stream:
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listener, *_ = await nursery.start(partial(trio.serve_tcp, mute, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.RaisesGroup(LinkLost, allow_unwrapped=True, flatten_subgroups=True):
            async with dial(at(port), TEST) as end:
                await end.outgoing.send(beat(1))
                with trio.fail_after(3):
                    async for _ in end.incoming:
                        pass
        nursery.cancel_scope.cancel()


async def test_a_node_without_links_says_so(loop: None) -> None:
    async with open_grpc_server("127.0.0.1", 0) as port:
        with pytest.raises(LinkLost, match="does not serve that"):
            async with dial(at(port), TEST) as end:
                with trio.fail_after(3):
                    async for _ in end.incoming:
                        pass


@pytest.mark.parametrize("address", ["127.0.0.1:8081", "ftp://x:1", "http://", "http://x:0", "http://x:99999", ""])
async def test_an_address_that_is_none_is_a_configuration_error(loop: None, address: str) -> None:
    with pytest.raises(ConfigurationError, match="http://host:8081"):
        async with dial(address, TEST):
            pass
