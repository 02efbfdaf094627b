"""The public helper for tests of handlers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from callboard import Context, Fail, Snooze, task
from callboard.context import Done
from callboard.errors import Cancelled, CancelReason
from callboard.registry import definitions, forget
from callboard.testing import fake_context, run, run_async


@task(timeout=30)
async def double(ctx: Context, x: int) -> dict[str, Any]:
    await ctx.progress(1, 2, "half")
    ctx.progress(2, 2)
    return {"x": 2 * x, "task": ctx.task_id, "attempt": ctx.attempt, "late": ctx.deadline is None}


@task(name="testing.plain")
def plain(what: str) -> Any:
    if what == "fail":
        raise Fail("no")
    if what == "snooze":
        raise Snooze(after=9)
    if what == "bad":
        return object()
    return what


@task
def obedient(ctx: Context) -> None:
    ctx.check_cancelled()


@task
async def sleeper() -> None:
    await trio.sleep_forever()


@pytest.fixture(scope="module", autouse=True)
def registry() -> Iterator[None]:
    yield
    for name in ("double", "testing.plain", "obedient", "sleeper"):
        forget(definitions[name])


def test_a_handler_runs_as_a_worker_would_run_it() -> None:
    ran = run(double, {"x": 21}, context=fake_context("17", 3, timeout=5))
    assert (ran.outcome, ran.result) == ("succeeded", {"x": 42, "task": "17", "attempt": 3, "late": False})
    assert ran.progress == [Done(1, 2, "half"), Done(2, 2, None)]


@pytest.mark.parametrize(
    ("args", "outcome", "kind"),
    [
        ({"what": "fail"}, "failed_final", "Fail"),
        ({"what": "snooze"}, "snoozed", "Snooze"),
        ({"what": "bad"}, "failed_final", "InvalidResult"),
        ({"waht": "typo"}, "failed_final", "InvalidArguments"),
    ],
)
def test_ends_have_the_names_of_the_system(args: dict[str, str], outcome: str, kind: str) -> None:
    ran = run(plain, args)
    assert ran.error is not None
    assert (ran.outcome, ran.error["type"]) == (outcome, kind)


def test_a_cancelled_context_stops_a_handler_that_asks() -> None:
    context = fake_context()
    context.cancel(CancelReason.DRAIN)
    ran = run(obedient, context=context)
    assert ran.error is not None
    assert (ran.outcome, ran.error["type"]) == ("released", "Drain")
    with pytest.raises(Cancelled) as caught:
        obedient(context)
    assert caught.value.reason is CancelReason.DRAIN


async def test_a_timeout_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    ran = await run_async(sleeper, timeout=100)
    assert ran.outcome == "timed_out"
    assert trio.current_time() >= 100


async def test_a_handler_is_still_a_function() -> None:
    context = fake_context()
    assert (await double(context, 4))["x"] == 8
    assert context.reported[-1].done == 2


def test_an_undecorated_function_is_refused() -> None:
    with pytest.raises(LookupError, match="decorate it with @task"):
        run(fake_context)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 2.0**60])
def test_progress_refuses_numbers_that_mean_nothing(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        fake_context().progress(wrong)


def test_progress_refuses_what_is_no_number() -> None:
    with pytest.raises(TypeError, match="done must be a number, got '1'"):
        fake_context().progress("1")  # type: ignore[arg-type]


def test_log_lines_name_task_and_attempt(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fake_context("17", 2).log.info("half of %s", "it", extra={"more": 1})
    (record,) = caplog.records
    assert record.getMessage() == "task 17 attempt 2: half of it"
    assert vars(record)["task_id"] == "17"
    assert vars(record)["more"] == 1
