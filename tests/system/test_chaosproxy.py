"""The proxy does what it says: whoever trusts a fault test trusts this."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from tests.system.bench.chaosproxy import Proxy, Way, open_proxy


@asynccontextmanager
async def line() -> AsyncIterator[tuple[Proxy, trio.SocketStream, Callable[[], bytes]]]:
    """A server that answers each chunk with `<` and the same, behind a proxy; and what it has received."""
    received = bytearray()

    async def echo(stream: trio.SocketStream) -> None:
        try:
            async for data in stream:
                received.extend(data)
                await stream.send_all(b"<" + data)
            received.extend(b"[FIN]")
            await trio.sleep_forever()
        except trio.BrokenResourceError:
            received.extend(b"[RST]")

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        port = listener.socket.getsockname()[1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            front = free.getsockname()
        async with open_proxy(front, ("127.0.0.1", port), who=lambda stream: "me") as proxy:
            with trio.fail_after(10):
                async with await trio.open_tcp_stream(*front) as client:
                    await client.send_all(b"hello")
                    assert await client.receive_some() == b"<hello"
                    yield proxy, client, lambda: bytes(received)
        nursery.cancel_scope.cancel()


async def silent(client: trio.SocketStream, seconds: float = 0.2) -> bool:
    with trio.move_on_after(seconds):
        await client.receive_some()
        return False
    return True


async def test_bytes_pass_unharmed() -> None:
    async with line() as (_, client, received):
        await client.send_all(b"x" * 300_000)
        got = b""
        while got.count(b"x") < 300_000:
            got += await client.receive_some()
        assert received() == b"hello" + b"x" * 300_000


async def test_a_delay_is_one() -> None:
    async with line() as (proxy, client, _):
        proxy.up(delay=0.3)
        began = trio.current_time()
        await client.send_all(b"late")
        assert await client.receive_some() == b"<late"
        assert trio.current_time() - began >= 0.3


async def test_a_rate_is_kept() -> None:
    async with line() as (proxy, client, _):
        proxy.up(rate=1000)
        began = trio.current_time()
        await client.send_all(b"x" * 400)
        assert await client.receive_some()
        assert trio.current_time() - began >= 0.4


async def test_what_is_swallowed_never_arrives() -> None:
    async with line() as (proxy, client, received):
        proxy.up(swallow=True)
        await client.send_all(b"lost")
        assert await silent(client)
        proxy.calm()
        await client.send_all(b"heard")
        assert await client.receive_some() == b"<heard"
        assert received() == b"hello" + b"heard"


async def test_what_is_held_arrives_in_order_when_it_is_over() -> None:
    async with line() as (proxy, client, received):
        proxy.down(held=True)
        await client.send_all(b"one")
        await client.send_all(b"two")
        assert await silent(client)
        assert received() in (b"helloonetwo", b"helloone" + b"two")
        proxy.calm()
        got = b""
        while got.replace(b"<", b"") != b"onetwo":
            got += await client.receive_some()


async def test_a_deaf_direction_fills_the_senders_buffers() -> None:
    async with line() as (proxy, client, _):
        proxy.up(deaf=True)
        await client.send_all(b"read already waits for this")
        with trio.move_on_after(0.5) as limit:
            await client.send_all(b"x" * 50_000_000)
        assert limit.cancelled_caught


async def test_a_request_passes_and_its_answer_is_lost() -> None:
    async with line() as (proxy, client, received):
        proxy.up(cut_at=b"commit")
        await client.send_all(b"commit")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert received().startswith(b"hellocommit")
        assert proxy.ways("me")[0].cut_at is None
        assert proxy.lost == len(b"<commit")


async def test_a_request_is_lost() -> None:
    async with line() as (proxy, client, received):
        proxy.up(lose_at=b"commit")
        await client.send_all(b"commit")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert b"commit" not in received()


async def test_a_connection_is_cut_after_so_many_bytes() -> None:
    async with line() as (proxy, client, received):
        proxy.up(cut_after=8)
        await client.send_all(b"abcdef")
        with pytest.raises(trio.BrokenResourceError):
            while await client.receive_some():
                pass
        while received() != b"helloabc[RST]":
            await trio.sleep(0.01)


async def test_a_byte_is_damaged_and_chunks_are_doubled() -> None:
    async with line() as (proxy, client, received):
        proxy.up(flip_at=6, duplicate=True)
        await client.send_all(b"abc")
        while received().count(b"a") < 2:
            await client.receive_some()
        damaged = b"a" + bytes([ord("b") ^ 0xFF]) + b"c"
        assert received() == b"hello" + 2 * damaged


async def test_a_reset_reaches_both_ends_and_a_refusal_every_new_one() -> None:
    async with line() as (proxy, client, received):
        assert proxy.reset("nobody") == 0
        proxy.refuses.add("me")
        assert proxy.reset("me") == 1
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        while received() != b"hello[RST]":
            await trio.sleep(0.01)


async def test_half_a_connection_is_closed() -> None:
    async with line() as (proxy, client, received):
        proxy.half_close(towards_server=True)
        while received() != b"hello[FIN]":
            await trio.sleep(0.01)
        proxy.half_close(towards_server=False)
        assert await client.receive_some() == b""


async def test_a_tag_has_ways_of_its_own() -> None:
    async with line() as (proxy, client, _):
        proxy.up("other", swallow=True)
        await client.send_all(b"mine")
        assert await client.receive_some() == b"<mine"
        proxy.up("me", swallow=True)
        await client.send_all(b"mine")
        assert await silent(client)
        proxy.calm("me")
        assert proxy.ways("other")[0].swallow
        assert not proxy.ways("me")[0].swallow


async def test_a_newcomer_meets_everybodys_trouble() -> None:
    async with line() as (proxy, _, _):
        proxy.up(held=True)
        assert proxy.ways("new")[0].held
        assert not proxy.ways("new")[1].held


def test_calm_leaves_nothing() -> None:
    way = Way(delay=1, held=True, cut_at=b"x", passed=7)
    way.calm()
    assert {name: value for name, value in vars(way).items() if name not in ("changed", "watch")} == {
        name: value for name, value in vars(Way(passed=7)).items() if name not in ("changed", "watch")
    }
