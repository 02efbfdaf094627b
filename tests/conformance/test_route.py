"""Where a task's own HTTP server is looked for, and what an idempotency key was used with."""

from __future__ import annotations

from actors.model.columns import Outcome
from actors.model.task import NewTask
from tests.support.bench import Bench


async def test_a_route_leads_to_the_worker_of_the_present_attempt_only(bench: Bench) -> None:
    assert await bench.tasks.route(10**15) is None
    [waiting] = await bench.put()
    route = await bench.tasks.route(waiting)
    assert route is not None
    assert (route.state, route.started, route.http_address, route.key) == ("queued", False, None, None)

    session = await bench.session()
    await bench.change("workers", {"session_id": session.id}, http_address="http://h:1")
    held = await bench.held(session)
    route = await bench.tasks.route(held.task_id)
    assert route is not None
    assert (route.state, route.started, route.http_address) == ("assigned", False, "http://h:1")
    await bench.dispatch.mark([], [held])
    route = await bench.tasks.route(held.task_id)
    assert route is not None
    [row] = await bench.rows("workers", session_id=session.id)
    assert (route.started, route.attempt, route.key) == (True, held.attempt, row["secret_hash"])

    await bench.end(held, Outcome.SUCCEEDED)
    route = await bench.tasks.route(held.task_id)
    assert route is not None
    assert (route.state, route.started, route.http_address, route.key) == ("succeeded", False, None, None)


async def test_a_key_tells_the_body_that_it_was_used_with(bench: Bench) -> None:
    assert await bench.tasks.key_hash("k") is None
    await bench.tasks.submit([NewTask(name="demo", idempotency_key="k", request_hash=b"h" * 32)])
    assert await bench.tasks.key_hash("k") == b"h" * 32
