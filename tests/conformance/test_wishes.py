"""What an operator wished of a worker outlives the session in which it was wished, and not the process."""

from __future__ import annotations

from actors.model.worker import HandlerInfo, Session, WorkerInfo
from tests.support.bench import LEASE, Bench


async def sign_in(bench: Bench, secret: bytes = b"secret") -> Session:
    worker = WorkerInfo(id="w1", name="w1", slots=1, handlers=[HandlerInfo(name="demo")])
    return await bench.dispatch.open_session(worker, secret_hash=secret, coordinator_id="c1", lease=LEASE)


async def wishes(bench: Bench, session: Session) -> tuple[bool, bool]:
    renewed = await bench.dispatch.renew("c1", [(session.id, session.epoch, 0.0)], lease=LEASE, health={})
    return session.id in renewed.wishes.paused, session.id in renewed.wishes.drain


async def test_a_wish_outlives_a_lost_session(bench: Bench) -> None:
    first = await sign_in(bench)
    await bench.tasks.set_worker("w1", paused=True, drain=True)
    await bench.dispatch.convict([(first.id, first.epoch)], "c1")
    again = await sign_in(bench)
    assert await wishes(bench, again) == (True, True)
    await bench.tasks.set_worker("w1", paused=False)
    assert await wishes(bench, await sign_in(bench)) == (False, True)


async def test_another_process_of_that_name_starts_afresh(bench: Bench) -> None:
    first = await sign_in(bench)
    await bench.tasks.set_worker("w1", paused=True, drain=True)
    await bench.dispatch.convict([(first.id, first.epoch)], "c1")
    assert await wishes(bench, await sign_in(bench, b"another")) == (False, False)


async def test_a_first_session_has_no_wishes(bench: Bench) -> None:
    assert await wishes(bench, await sign_in(bench)) == (False, False)
