"""Workers that break the contract of their link: refused in words, or heard without harm; in virtual time."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
import trio.testing

from actors.coordinator.hello import refusal
from actors.coordinator.link import Desk, LinkActor
from actors.coordinator.membership import Link, Membership
from actors.model import link as wire
from actors.model.lease import TEST
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo
from tests.support.links import KEY, SECRET, assign, beat, expect, hello, reply, report


@dataclass
class Store:
    """Opens sessions; whatever else is asked of it is noted."""

    asked: list[str] = field(default_factory=list)

    async def open_session(self, worker: WorkerInfo, **_: Any) -> Session:
        return Session(id=1, epoch=1, worker=worker.id)

    async def resume_session(self, session_id: int, **_: Any) -> None:
        return None

    async def declare(self, handlers: Any) -> None:
        self.asked.append("declare")

    async def close_session(self, session_id: int, epoch: int) -> None:
        self.asked.append("close")

    async def complete(self, outcomes: Any) -> list[Any]:
        self.asked.append("complete")
        return []


class Completer:
    def __init__(self) -> None:
        self.taken: list[wire.Report] = []

    def take(self, link: Link, report: wire.Report) -> None:
        self.taken.append(report)


@dataclass
class Peer:
    """The worker's side of one link."""

    membership: Membership
    completer: Completer
    store: Store
    say: trio.MemorySendChannel[Any]
    hear: trio.MemoryReceiveChannel[Any]

    async def sign_in(self) -> Link:
        await self.say.send(hello())
        await expect(self.hear, wire.Welcome)
        await trio.testing.wait_all_tasks_blocked()
        link = self.membership.get(1)
        assert link is not None
        return link

    async def refused(self, message: Any) -> str:
        await self.say.send(message)
        rejection = await expect(self.hear, wire.Reject)
        assert not rejection.retry
        assert len(self.membership) == 0
        assert self.store.asked == []
        assert len(rejection.reason) < 500
        return rejection.reason


@asynccontextmanager
async def a_peer(token: str | None = None) -> AsyncIterator[Peer]:
    say, incoming = trio.open_memory_channel[Any](1000)
    outgoing, hear = trio.open_memory_channel[Any](1000)
    membership, completer, store = Membership(), Completer(), Store()
    wide: Any = (completer, store)
    desk = Desk(
        coordinator_id="c", store=wide[1], membership=membership, completer=wide[0], terms=TEST, token=token,
        reply=lambda _, sequence: reply(sequence), coordinators=list, declared=lambda: None, left=lambda *_: None,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        nursery.start_soon(LinkActor(desk, wire.CoordinatorEnd("peer", incoming, outgoing)).serve)
        yield Peer(membership, completer, store, say, hear)
        say.close()


def worker(**changes: Any) -> wire.Hello:
    return replace(hello(), worker=replace(hello().worker, **changes))


@pytest.mark.bad_input("GR16")
@pytest.mark.parametrize("first", [beat(1), report(1, 1), wire.Draining(), wire.Unsupported("x"), wire.Tree("{}")])
async def test_the_first_message_must_be_hello(autojump_clock: Any, first: Any) -> None:
    async with a_peer() as peer:
        assert "must be Hello" in await peer.refused(first)


@pytest.mark.bad_input("GR16", "GR05")
async def test_a_stream_that_says_nothing_is_refused_after_five_seconds(autojump_clock: Any) -> None:
    async with a_peer() as peer:
        began = trio.current_time()
        with trio.fail_after(6):
            assert isinstance(await peer.hear.receive(), wire.Reject)
        assert trio.current_time() - began == pytest.approx(5)


@pytest.mark.bad_input("GR16")
async def test_a_second_hello_is_told_that_it_is_not_expected_and_changes_nothing(autojump_clock: Any) -> None:
    async with a_peer() as peer:
        link = await peer.sign_in()
        await peer.say.send(hello("other"))
        assert "Hello" in (await expect(peer.hear, wire.Unsupported)).detail
        assert peer.membership.get(1) is link
        assert link.worker.id == "w-1"


def a_tree(**changes: Any) -> dict[str, Any]:
    known = {"name": "w", "kind": "actor", "state": "running", "uptime": 1.0, "restarts": 0, "restarts_total": 0}
    return {**known, "last_error": None, "mailbox": None, "children": [], **changes}


ODD_TREES = [
    "", "x", "null", "[]", "{}", '{"name": "w"}', "[" * 100_000,
    json.dumps(a_tree(uptime="long")), json.dumps(a_tree(uptime=math.nan)), json.dumps(a_tree(last_error=math.inf)),
    json.dumps(a_tree(uptime=10**400)), json.dumps(a_tree(uptime=-1)), json.dumps(a_tree(children=None)),
    json.dumps(a_tree(children=[a_tree(), {}])), '{"children": [' * 100 + "]}" * 100,
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_TREES, ids=range(len(ODD_TREES)))
async def test_a_tree_that_is_none_is_refused_and_the_last_one_stays(autojump_clock: Any, text: str) -> None:
    async with a_peer() as peer:
        link = await peer.sign_in()
        whole = a_tree(children=[a_tree(last_error="it fell")])
        await peer.say.send(wire.Tree(json.dumps(whole)))
        await peer.say.send(wire.Tree(text))
        assert "a tree was not understood" in (await expect(peer.hear, wire.Unsupported)).detail
        assert link.tree == whole
        assert peer.membership.get(1) is link


HELLOS: list[tuple[wire.Hello, str]] = [
    (replace(hello(), protocol=0), "protocol 0"),
    (replace(hello(), protocol=99, oldest_protocol=98), "protocol 99"),
    (replace(hello(), secret=b"short"), "16 bytes"),
    (worker(slots=0), "slots"),
    (worker(slots=-1), "slots"),
    (worker(slots=10**9), "slots"),
    (worker(id=""), "id"),
    (worker(id="x" * 1_048_576), "id"),
    (worker(id="a\nb"), "id"),
    (worker(name="x" * 1_048_576), "name"),
    (worker(name="\x1b[31m"), "name"),
    (worker(version="v\x00"), "version"),
    (worker(http_address="http://" + "x" * 1000), "http_address"),
    (worker(handlers=[HandlerInfo(name=f"h{n}") for n in range(10_000)]), "handlers"),
    (worker(handlers=[HandlerInfo(name="")]), "handlers"),
    (worker(handlers=[HandlerInfo(name="a b")]), "handlers"),
    (worker(handlers=[HandlerInfo(name="h", queue="\n")]), "queue"),
    (worker(handlers=[HandlerInfo(name="h", max_tries=10**6)]), "max_tries"),
    (worker(handlers=[HandlerInfo(name="h", timeout=float("nan"))]), "timeout"),
    (worker(handlers=[HandlerInfo(name="h", timeout=-1.0)]), "timeout"),
    (worker(handlers=[HandlerInfo(name="h", args={"x": "\x00"})]), "args.x"),
    (worker(handlers=[HandlerInfo(name="h", backoff={"base": float("inf")})]), "backoff.base"),
    (worker(queues=["q"] * 1_001), "queues"),
    (worker(queues=["q\x00"]), "queues[0]"),
    (worker(labels={f"l{n}": "" for n in range(65)}), "labels"),
    (worker(labels={"l": "x" * 201}), "labels.l"),
]


@pytest.mark.bad_input("GR17")
@pytest.mark.parametrize(("odd", "named"), HELLOS, ids=range(len(HELLOS)))
async def test_an_odd_hello_is_refused_by_name_before_the_store_is_asked(
    autojump_clock: Any, odd: wire.Hello, named: str
) -> None:
    async with a_peer() as peer:
        assert named in await peer.refused(odd)


@pytest.mark.bad_input("GR18")
@pytest.mark.parametrize("token", ["", "wrong", "é"])
async def test_a_worker_without_the_token_is_refused(autojump_clock: Any, token: str) -> None:
    async with a_peer("sesame") as peer:
        assert "CALLBOARD_TOKEN" in await peer.refused(replace(hello(), token=token))


@pytest.mark.bad_input("GR18")
async def test_a_session_that_is_not_ones_own_becomes_a_new_one(autojump_clock: Any) -> None:
    async with a_peer() as peer:
        await peer.say.send(replace(hello(), session=77, running=[Held(5, 1, KEY)]))
        welcome = await expect(peer.hear, wire.Welcome)
        assert (welcome.session, welcome.resumed, welcome.stop) == (1, False, [Held(5, 1, KEY)])


@pytest.mark.bad_input("GR19", "GR20")
async def test_news_of_what_it_does_not_hold_goes_to_the_store_and_leaves_the_books_alone(autojump_clock: Any) -> None:
    async with a_peer() as peer:
        link = await peer.sign_in()
        link.assign(assign(b"{}").assignment, trio.current_time())
        await expect(peer.hear, wire.Assign)
        strangers = [Held(99, 1, KEY), Held(1, 2**31 - 1, b"q" * 16)]
        for message in (
            report(1, 99), wire.Accepted(b"q" * 16), wire.Accepted(KEY, [99]), wire.Started(strangers),
            wire.Progress([(99, 1, "{}")]), report(2, 1), wire.Started([Held(1, 1, KEY)]), report(3, 1), beat(1),
        ):  # fmt: skip
            await peer.say.send(message)
        await expect(peer.hear, wire.HeartbeatReply)
        assert [one.sequence for one in peer.completer.taken] == [1, 2, 3]  # the store decides what is fenced
        assert (link.held, link.claims) == (0, {})


@pytest.mark.bad_input("GR21")
async def test_heartbeats_that_do_not_rise_renew_nothing(autojump_clock: Any) -> None:
    async with a_peer() as peer:
        link = await peer.sign_in()
        for sequence in (5, 5, 4, 0):
            await trio.sleep(0.1)
            await peer.say.send(beat(sequence))
        await expect(peer.hear, wire.HeartbeatReply)
        await trio.testing.wait_all_tasks_blocked()
        assert peer.hear.statistics().current_buffer_used == 0
        assert trio.current_time() - link.beat_at == pytest.approx(0.3)
        await peer.say.send(beat(2**63 - 1))
        assert (await expect(peer.hear, wire.HeartbeatReply)).sequence == 2**63 - 1


@pytest.mark.bad_input("GR21")
async def test_heartbeats_without_end_cost_the_link_and_a_busy_minute_does_not(autojump_clock: Any) -> None:
    async with a_peer() as peer:
        await peer.sign_in()
        for sequence in range(1, 301):  # five times as often as it is due
            await peer.say.send(beat(sequence))
            await trio.sleep(TEST.heartbeat / 5)
        assert len(peer.membership) == 1
        for sequence in range(301, 401):
            await peer.say.send(beat(sequence))
        await trio.testing.wait_all_tasks_blocked()
        assert len(peer.membership) == 0


@pytest.mark.bad_input("GR21")
async def test_a_worker_that_falls_silent_loses_its_link(autojump_clock: Any) -> None:
    async with a_peer() as peer:
        await peer.sign_in()
        await trio.sleep(TEST.silence + 0.1)
        assert len(peer.membership) == 0


def test_a_whole_fleet_of_handlers_is_welcome() -> None:
    many = [HandlerInfo(name=f"images.h{n}", queue="q", max_tries=3, timeout=1.5) for n in range(2_000)]
    assert refusal(worker(handlers=many, labels={"zone": "a"}, queues=["q"]), None) is None
    assert refusal(replace(hello(), secret=SECRET), None) is None
