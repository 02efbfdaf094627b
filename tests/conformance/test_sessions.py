"""Sessions: opened, resumed with a secret, renewed until convicted, never back from the dead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.model.columns import Outcome, Verdict
from actors.model.worker import HandlerInfo, Session, WorkerInfo
from tests.support.bench import LEASE, NOW, Bench, ago

INFO = WorkerInfo(
    id="w1",
    name="w1",
    slots=4,
    queues=["a", "b"],
    handlers=[HandlerInfo(name="demo"), HandlerInfo(name="other")],
    labels={"gpu": "1"},
    version="1.2",
    http_address="http://10.0.0.1:8090",
)


async def resume(bench: Bench, session: Session, **changes: Any) -> Session | None:
    given = {"worker": INFO, "secret_hash": b"secret", "coordinator_id": "c2", "lease": LEASE, **changes}
    return await bench.dispatch.resume_session(session.id, **given)


async def renewed(bench: Bench, session: Session, *, age: float = 0.0) -> bool:
    answer = await bench.dispatch.renew("c1", [(session.id, session.epoch, age)], lease=LEASE, health={})
    return session.id in answer.sessions


async def lease_of(bench: Bench, session: Session) -> float:
    [row] = await bench.rows("workers", session_id=session.id)
    return await bench.seconds_until(row["lease_until"])


async def state_of(bench: Bench, session: Session) -> str:
    [row] = await bench.rows("workers", session_id=session.id)
    return str(row["state"])


async def expire(bench: Bench, session: Session) -> None:
    await bench.change("workers", {"session_id": session.id}, lease_until=ago(1))


async def test_a_session_shows_what_the_worker_declares(bench: Bench) -> None:
    session = await bench.dispatch.open_session(INFO, secret_hash=b"s", coordinator_id="c1", lease=LEASE)
    assert session.epoch == 1
    view = await bench.tasks.worker("w1")
    assert view is not None
    assert (view.name, view.state, view.slots, view.session) == ("w1", "live", 4, session.id)
    assert (list(view.queues), list(view.handlers)) == (["a", "b"], ["demo", "other"])
    assert (view.labels, view.version, view.address) == ({"gpu": "1"}, "1.2", "http://10.0.0.1:8090")
    assert 11 < await lease_of(bench, session) <= LEASE


async def test_resuming_raises_the_epoch_and_moves_to_the_coordinator(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    again = await resume(bench, session)
    assert again == replace(session, epoch=2)
    assert [row["coordinator_id"] for row in await bench.rows("workers")] == ["c2"]
    assert await bench.dispatch.held_by(session.id) == [held]
    assert await bench.end(held, Outcome.SUCCEEDED) is Verdict.ACCEPTED
    assert await bench.dispatch.held_by(session.id) == []


@pytest.mark.bad_input("GR18")
@pytest.mark.parametrize("change", [{"secret_hash": b"wrong"}, {"state": "dead"}, {"state": "closed"}])
async def test_a_stranger_and_an_ended_session_can_t_resume(bench: Bench, change: dict[str, Any]) -> None:
    session = await bench.session()
    if "state" in change:
        await bench.change("workers", **change, ended_at=NOW)
        change = {}
    assert await resume(bench, session, **change) is None


async def test_an_unknown_session_can_t_resume(bench: Bench) -> None:
    assert await resume(bench, Session(id=10**15, epoch=1, worker="w1")) is None


async def test_a_renewal_moves_the_lease_by_the_age_of_the_heartbeat(bench: Bench) -> None:
    session = await bench.session(lease=1.0)
    assert await renewed(bench, session, age=5.0)
    assert 6 < await lease_of(bench, session) <= 7
    assert await renewed(bench, session, age=8.0)
    assert 5 < await lease_of(bench, session) <= 7  # a lease is never shortened


async def test_health_that_the_database_cannot_hold_costs_nobody_a_lease(bench: Bench) -> None:
    broken, sound = await bench.session("w1"), await bench.session("w2")
    health: dict[int, Any] = {broken.id: {"lag": float("nan")}, sound.id: {"lag": 0.5}}
    answer = await bench.dispatch.renew("c1", [(broken.id, 1, 0.0), (sound.id, 1, 0.0)], lease=LEASE, health=health)
    assert answer.sessions == {broken.id, sound.id}
    views = {view.id: view for view in await bench.tasks.workers()}
    assert (views["w1"].health, views["w2"].health) == ({}, {"lag": 0.5})


async def test_a_renewal_revives_an_expired_session_that_nobody_convicted(bench: Bench) -> None:
    session = await bench.session()
    await expire(bench, session)
    assert await renewed(bench, session)
    assert (await bench.dispatch.sweep(100, "c1", lease=LEASE)).convicted == ()
    assert await state_of(bench, session) == "live"


async def test_a_zombie_coordinator_can_neither_renew_nor_convict_nor_close(bench: Bench) -> None:
    zombie = await bench.session()
    current = await resume(bench, zombie)
    assert current is not None
    assert not await renewed(bench, zombie)
    assert await renewed(bench, current)
    assert await bench.dispatch.convict([(zombie.id, zombie.epoch)], "c1") == []
    assert await bench.dispatch.convict([(current.id, current.epoch)], "c1") == []  # not its coordinator
    await bench.dispatch.close_session(zombie.id, zombie.epoch)
    await bench.dispatch.begin_drain(zombie.id, zombie.epoch)
    assert await state_of(bench, zombie) == "live"
    assert await bench.claim(zombie) is None


async def test_a_renewal_tells_the_session_that_moved_from_the_one_that_ended(bench: Bench) -> None:
    moved, ended = await bench.session(), await bench.session("w2")
    assert await resume(bench, moved) is not None
    await bench.dispatch.close_session(ended.id, ended.epoch)
    asked = [(moved.id, moved.epoch, 0.0), (ended.id, ended.epoch, 0.0)]
    answer = await bench.dispatch.renew("c1", asked, lease=LEASE, health={})
    assert not answer.sessions
    assert answer.moved == frozenset({moved.id})


async def test_a_conviction_that_was_held_up_convicts_nobody(bench: Bench) -> None:
    session = await bench.session()
    now = (await bench.clock()).timestamp()
    assert await bench.dispatch.convict([(session.id, 1)], "c1", until=now - 0.5) == []
    assert await bench.dispatch.convict([(session.id, 1)], "c1", until=now + 5) == [session.id]


async def test_a_convicted_session_never_comes_back(bench: Bench) -> None:
    session = await bench.session()
    assert await bench.dispatch.convict([(session.id, 1)], "c1") == [session.id]
    assert await bench.dispatch.convict([(session.id, 1)], "c1") == []
    assert not await renewed(bench, session)
    assert await resume(bench, session) is None
    await bench.dispatch.begin_drain(session.id, 1)
    await bench.dispatch.close_session(session.id, 1)
    assert await state_of(bench, session) == "dead"


async def test_the_holder_of_an_exclusive_task_waits_for_its_lease(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session, exclusive=True)
    assert await bench.dispatch.convict([(session.id, 1)], "c1") == []
    await bench.end(held, Outcome.SUCCEEDED)
    assert await bench.dispatch.convict([(session.id, 1)], "c1") == [session.id]


async def test_draining_is_renewed_and_gets_no_work(bench: Bench) -> None:
    session = await bench.session()
    await bench.put(1)
    await bench.dispatch.begin_drain(session.id, session.epoch)
    assert await state_of(bench, session) == "draining"
    assert await renewed(bench, session)
    assert await bench.claim(session) is None
    assert await resume(bench, session) is not None


async def test_wishes_come_with_the_renewal(bench: Bench) -> None:
    one, two = await bench.session("w1"), await bench.session("w2")
    first, _second = await bench.held(one), await bench.held(two)
    assert await bench.tasks.cancel(first.task_id) == "cancelling"
    await bench.tasks.set_worker("w2", paused=True)
    await bench.tasks.set_worker("w1", drain=True)
    answer = await bench.dispatch.renew("c1", [(two.id, 1, 0.0), (one.id, 1, 0.0)], lease=LEASE, health={})
    assert answer.sessions == {one.id, two.id}
    assert answer.wishes.cancels == {one.id: [first]}
    assert answer.wishes.paused == {two.id}
    assert answer.wishes.drain == {one.id}
    await bench.end(first, Outcome.CANCELLED)
    answer = await bench.dispatch.renew("c1", [(one.id, 1, 0.0)], lease=LEASE, health={})
    assert answer.wishes.cancels == {}


async def test_a_renewal_of_nobody_still_tells_when_the_server_started(bench: Bench) -> None:
    first = await bench.dispatch.renew("c1", [], lease=LEASE, health={})
    assert first.sessions == frozenset()
    assert first.server_started == (await bench.dispatch.renew("c1", [], lease=LEASE, health={})).server_started


async def test_health_of_any_text_is_kept(bench: Bench) -> None:
    session = await bench.session()
    health = {session.id: {"disk": "a\x00b", "name": "x\ud800", "ok": True}}
    assert session.id in (await bench.dispatch.renew("c1", [(session.id, 1, 0.0)], lease=LEASE, health=health)).sessions
    view = await bench.tasks.worker("w1")
    assert view is not None
    assert view.health["ok"] is True


async def test_coordinators_sign_in_and_out(bench: Bench) -> None:
    one = await bench.dispatch.sign_in("c1", "http://a:1", "1", ttl=12)
    assert [(view.id, view.address, view.alive) for view in one] == [("c1", "http://a:1", True)]
    both = await bench.dispatch.sign_in("c2", "http://b:1", "1", ttl=12)
    assert {view.id for view in both} == {"c1", "c2"}
    await bench.change("coordinators", {"id": "c1"}, seen_until=NOW)
    assert {view.id for view in await bench.dispatch.sign_in("c2", "http://b:2", "1", ttl=12)} == {"c2"}
    await bench.session(coordinator="c2")
    views = {view.id: view for view in await bench.tasks.coordinators()}
    assert (views["c1"].alive, views["c2"].alive, views["c2"].workers) == (False, True, 1)
    assert views["c2"].address == "http://b:2"
    await bench.dispatch.sign_out("c2")
    assert [view.id for view in await bench.tasks.coordinators()] == ["c1"]
