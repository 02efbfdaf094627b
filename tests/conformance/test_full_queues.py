"""Which queues take no more: counted over all lanes that lead into them."""

from __future__ import annotations

from actors.model.ports import FullQueues
from tests.support.bench import Bench


async def test_a_queue_is_full_by_all_that_leads_into_it(bench: Bench) -> None:
    await bench.handler("mail.send", queue="mail")
    await bench.put(2, name="mail.send")
    await bench.put(2, name="default.one")
    await bench.put(1, name="default.two")
    assert await bench.tasks.full_queues(6) == FullQueues()
    three = await bench.tasks.full_queues(3)
    assert three.queues == {"default"}
    assert dict(three.lanes) == {("default.one", None): "default", ("default.two", None): "default"}
    two = await bench.tasks.full_queues(2)
    assert two.queues == {"default", "mail"}
    assert two.lanes[("mail.send", None)] == "mail"


async def test_only_what_waits_counts(bench: Bench) -> None:
    await bench.put(3)
    session = await bench.session()
    await bench.claim(session, 2)
    assert (await bench.tasks.full_queues(1)).queues == {"default"}
    assert (await bench.tasks.full_queues(2)).queues == frozenset()
