"""Nodes of two neighbouring releases work together; what one of them does not know is said, and ends nothing."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.model import link as wire
from actors.model.lease import FAST as TERMS
from actors.model.worker import WorkerInfo
from actors.worker.link import WorkerLink
from tests.support.worker import FakeCoordinator
from tests.unit.coordinator.test_link import hello, office
from tests.unit.worker.test_link import A, B, FakeCrew, a_link

OLD, NEW = 1, 2  # of two neighbouring releases


def release(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As if this end were of the release that speaks this protocol first."""
    monkeypatch.setattr(wire, "PROTOCOL", number)
    monkeypatch.setattr(wire, "OLDEST", max(1, number - 1))


@pytest.mark.parametrize(
    ("here", "newest", "oldest", "spoken"),
    [
        (1, 1, 1, 1),
        (NEW, OLD, OLD, OLD),
        (OLD, NEW, OLD, OLD),
        (NEW, NEW, OLD, NEW),
        (3, 2, 1, 2),
        (2, 3, 2, 2),
        (3, 1, 1, None),
        (1, 3, 2, None),
        (1, 2, 0, None),  # who says nothing of older ones speaks only the newest
        (1, 0, 0, None),
    ],
)
def test_the_newest_that_both_know_is_spoken(
    monkeypatch: pytest.MonkeyPatch, here: int, newest: int, oldest: int, spoken: int | None
) -> None:
    release(monkeypatch, here)
    assert wire.agreed(newest, oldest) == spoken


@pytest.mark.parametrize(("here", "worker"), [(NEW, OLD), (OLD, NEW), (NEW, NEW)])
async def test_a_coordinator_welcomes_workers_of_the_release_before_and_after(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, here: int, worker: int
) -> None:
    release(monkeypatch, here)
    async with office() as room:
        peer = room.connect()
        await peer.say.send(hello(protocol=worker, oldest_protocol=max(1, worker - 1)))
        assert (await peer.expect(wire.Welcome)).protocol == min(here, worker)


@pytest.mark.parametrize(
    ("here", "worker", "words"), [(3, 1, "speaks 2 to 3: upgrade this worker"), (1, 3, "upgrade the coordinators")]
)
async def test_others_are_refused_with_what_to_upgrade(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, here: int, worker: int, words: str
) -> None:
    release(monkeypatch, here)
    async with office() as room:
        peer = room.connect()
        await peer.say.send(hello(protocol=worker, oldest_protocol=max(1, worker - 1)))
        assert words in (await peer.expect(wire.Reject)).reason


async def test_a_coordinator_answers_what_it_does_not_know_and_goes_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with office() as room:
        peer, link = await room.signed_in("w")
        await peer.say.send(wire.Unknown("news"))
        assert await peer.expect(wire.Unsupported) == wire.Unsupported("news")
        for _ in range(100):
            await peer.say.send(wire.Unsupported("pause"))
        await wait_all_tasks_blocked()
        assert not peer.heard.statistics().current_buffer_used  # a complaint is not answered
        assert not link.scope.cancel_called
        await peer.say.send(wire.Heartbeat(sequence=1, running=0, loop_lag=0.0))
        await peer.expect(wire.HeartbeatReply)
    assert [record.getMessage() for record in caplog.records if "not support" in record.getMessage()] == [
        "worker w does not support: pause"
    ]


# --- the worker's end -------------------------------------------------------------------------------


@pytest.mark.parametrize(("here", "coordinator"), [(NEW, OLD), (OLD, OLD), (NEW, NEW)])
async def test_a_worker_speaks_with_coordinators_of_the_release_before(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, here: int, coordinator: int
) -> None:
    release(monkeypatch, here)
    async with a_link() as bench:
        stream = await bench.coordinator.accept()
        await stream.welcome(protocol=coordinator)
        await wait_all_tasks_blocked()
        assert bench.link.state.connected


async def test_a_worker_leaves_a_coordinator_that_speaks_what_it_does_not_know(autojump_clock: MockClock) -> None:
    async with a_link(A, B) as bench:
        stream = await bench.coordinator.accept()
        await stream.welcome(protocol=9)
        other = await bench.coordinator.accept()
        assert other.address == B
        await other.welcome()
        await wait_all_tasks_blocked()
        assert bench.link.state.connected


async def test_a_worker_answers_what_it_does_not_know_and_goes_on(autojump_clock: MockClock) -> None:
    async with a_link() as bench:
        stream = await bench.signed_in()
        stream.say(wire.Unknown("news"))
        assert (await stream.hear(wire.Unsupported)).detail == "news"
        bench.serve(stream)
        await trio.sleep(TERMS.lease)
        assert bench.link.state.connected


def test_hello_says_what_is_spoken() -> None:
    crew: Any = FakeCrew()
    link = WorkerLink(
        worker=lambda: WorkerInfo(id="w", name="w", slots=1), secret=b"s" * 32, token="", addresses=[A],
        dial=FakeCoordinator(TERMS).dial, crew=crew, terms=TERMS, health=dict, tree=dict, on_drain=lambda _: None,
    )  # fmt: skip
    said = link._hello()
    assert (said.protocol, said.oldest_protocol) == (wire.PROTOCOL, wire.OLDEST)
