"""T3 to T17: one outcome is accepted, whoever repeats it; a late one is refused and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from actors.model.columns import Outcome, Outcomes, Verdict
from actors.model.worker import Held
from tests.support.bench import Bench, ago, outcomes

KINDS = list(Outcome)
LEADS_TO = {
    Outcome.SUCCEEDED: ("succeeded", None),
    Outcome.FAILED: ("queued", "failed"),
    Outcome.FAILED_FINAL: ("failed", "failed"),
    Outcome.TIMED_OUT: ("queued", "timed_out"),
    Outcome.CANCELLED: ("queued", "cancelled"),
    Outcome.CRASHED: ("queued", "crashed"),
    Outcome.RELEASED: ("queued", "released"),
    Outcome.SNOOZED: ("queued", "snoozed"),
    Outcome.REFUSED: ("queued", "refused"),
}


def join(*parts: Outcomes) -> Outcomes:
    whole = Outcomes()
    for part in parts:
        base = len(whole.keys)
        whole.keys += part.keys
        whole.key_index += [base + index for index in part.key_index]
        for name in ("ids", "attempts", "kinds", "sizes"):
            getattr(whole, name).extend(getattr(part, name))
        whole.bodies += part.bodies
    return whole


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_leads_where_it_should(bench: Bench, kind: Outcome) -> None:
    held = await bench.held()
    assert await bench.end(held, kind) is Verdict.ACCEPTED
    row, attempts = await bench.task(held.task_id), await bench.attempts(held.task_id)
    state, outcome = LEADS_TO[kind]
    assert row["state"] == state
    assert [(one["outcome"], one["accepted"]) for one in attempts] == ([(outcome, True)] if outcome else [])
    final = state != "queued"
    assert (row["finished_at"] is not None) == final
    assert (row["lease_key"] is not None) == (row["session_id"] is not None) == final
    counted = (row["tries"], row["crashes"], row["undelivered"], row["snoozes"])
    assert counted == {
        Outcome.FAILED: (1, 0, 0, 0),
        Outcome.FAILED_FINAL: (1, 0, 0, 0),
        Outcome.TIMED_OUT: (1, 0, 0, 0),
        Outcome.CRASHED: (0, 1, 0, 0),
        Outcome.REFUSED: (0, 0, 1, 0),
        Outcome.SNOOZED: (0, 0, 0, 1),
    }.get(kind, (0, 0, 0, 0))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_repeat_of_each_kind_is_accepted_before(bench: Bench, kind: Outcome) -> None:
    held = await bench.held()
    await bench.end(held, kind)
    before = await bench.task(held.task_id)
    assert await bench.end(held, kind) is Verdict.ACCEPTED_BEFORE
    assert await bench.task(held.task_id) == before
    assert all(one["accepted"] for one in await bench.attempts(held.task_id))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_superseded_outcome_is_fenced_and_kept_once(bench: Bench, kind: Outcome) -> None:
    session = await bench.session()
    old = await bench.held(session)
    await bench.end(old, Outcome.RELEASED, {"evidence": {"why": "drain"}})
    again = await bench.claim(session)
    assert again is not None
    assert again.attempts == [2]
    late = {"type": "Late", "message": "too late", "traceback": None}
    for _ in range(2):
        assert await bench.end(old, kind, late) is Verdict.FENCED
    row = await bench.task(old.task_id)
    assert (row["state"], row["attempt"], row["result"]) == ("assigned", 2, None)
    [kept] = [one for one in await bench.attempts(old.task_id) if not one["accepted"]]
    assert (kept["attempt"], kept["outcome"]) == (1, (LEADS_TO[kind][1] or "succeeded"))
    assert kept["session_id"] == session.id
    assert json.loads(json.loads(kept["evidence"])["reported"]) == late


@pytest.mark.parametrize("kind", KINDS)
async def test_a_final_row_never_changes(bench: Bench, kind: Outcome) -> None:
    held = await bench.held()
    await bench.end(held, Outcome.SUCCEEDED, {"first": True})
    before = await bench.task(held.task_id)
    assert await bench.end(held, kind, {"first": False}) is Verdict.FENCED
    assert await bench.task(held.task_id) == before
    [kept] = await bench.attempts(held.task_id)
    assert (kept["accepted"], kept["session_id"]) == (False, before["session_id"])


@pytest.mark.parametrize(
    "wrong",
    [{"lease_key": b"x" * 16}, {"attempt": 2}, {"attempt": 0}, {"task_id": 10**15}],
)
@pytest.mark.parametrize("kind", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_identity_is_task_attempt_and_key(bench: Bench, wrong: dict[str, Any], kind: Outcome) -> None:
    held = await bench.held()
    assert await bench.end(replace(held, **wrong), kind) is Verdict.FENCED
    assert (await bench.task(held.task_id))["state"] == "assigned"


async def test_a_mixed_batch_gets_one_verdict_each_in_its_order(bench: Bench) -> None:
    await bench.put(20)
    assignment = await bench.claim(await bench.session(), 20)
    assert assignment is not None
    held = [Held(task, 1, assignment.lease_key) for task in assignment.ids]
    await bench.end(held[3], Outcome.FAILED)
    stale = replace(held[4], attempt=7)
    parts = [outcomes([one], KINDS[number % len(KINDS)]) for number, one in enumerate(reversed(held[5:]))]
    verdicts = await bench.dispatch.complete(
        join(*parts, outcomes([held[3]], Outcome.FAILED), outcomes([stale], Outcome.SUCCEEDED))
    )
    assert verdicts == [Verdict.ACCEPTED] * 15 + [Verdict.ACCEPTED_BEFORE, Verdict.FENCED]
    for number, one in enumerate(reversed(held[5:])):
        assert (await bench.task(one.task_id))["state"] == LEADS_TO[KINDS[number % len(KINDS)]][0]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_duplicate_inside_one_batch_counts_once(bench: Bench, kind: Outcome) -> None:
    held = await bench.held()
    verdicts = await bench.dispatch.complete(outcomes([held, held], kind))
    assert sorted(verdicts) == [Verdict.ACCEPTED, Verdict.ACCEPTED_BEFORE]
    assert len(await bench.attempts(held.task_id)) == (0 if kind is Outcome.SUCCEEDED else 1)
    assert (await bench.task(held.task_id))["tries"] <= 1


async def test_an_empty_batch(bench: Bench) -> None:
    assert await bench.dispatch.complete(Outcomes()) == []


async def test_tries_run_out(bench: Bench) -> None:
    session = await bench.session()
    [task] = await bench.put(1, max_tries=3)
    for tries in (1, 2, 3):
        await bench.idle_backoffs()
        assignment = await bench.claim(session)
        assert assignment is not None
        await bench.end(Held(task, tries, assignment.lease_key), Outcome.FAILED)
        assert (await bench.task(task))["tries"] == tries
    row = await bench.task(task)
    assert (row["state"], json.loads(row["error"])["type"]) == ("failed", "ValueError")
    assert len(await bench.attempts(task)) == 3


async def test_tries_come_from_the_task_then_the_handler(bench: Bench) -> None:
    await bench.handler(max_tries=1)
    first = await bench.held()
    await bench.end(first, Outcome.FAILED)
    assert (await bench.task(first.task_id))["state"] == "failed"
    second = await bench.held(max_tries=2)
    await bench.end(second, Outcome.FAILED)
    assert (await bench.task(second.task_id))["state"] == "queued"


async def wait_of(bench: Bench, held: Held) -> float:
    return await bench.seconds_until((await bench.task(held.task_id))["run_at"])


@pytest.mark.parametrize(
    ("kind", "body", "least", "most"),
    [
        (Outcome.FAILED, {"after": 100}, 99, 100),
        (Outcome.FAILED, {"after": 0}, -1, 0),
        (Outcome.FAILED, {"after": -5}, -1, 0),
        (Outcome.FAILED, {"after": 1e300}, 9e8, 1e9),
        (Outcome.FAILED, {"after": "soon"}, -1, 1),  # no number: the usual back-off, at most 1 s
        (Outcome.FAILED, {}, -1, 1),
        (Outcome.SNOOZED, {"after": 50}, 49, 50),
        (Outcome.SNOOZED, {"until": "2000-01-01T00:00:00+00:00"}, -1, 0),
        (Outcome.SNOOZED, {"until": "never"}, -1, 0),
        (Outcome.SNOOZED, {}, -1, 0),
        (Outcome.RELEASED, b"", -30, -1),  # keeps its place: it was due a second before
        (Outcome.REFUSED, {}, 0, 0.2),
    ],
)
async def test_the_wait_is_what_the_handler_asked_for(
    bench: Bench, kind: Outcome, body: Any, least: float, most: float
) -> None:
    held = await bench.held()
    assert await bench.end(held, kind, body) is Verdict.ACCEPTED
    assert least <= await wait_of(bench, held) <= most
    assert await bench.end(held, kind, body) is Verdict.ACCEPTED_BEFORE


async def test_a_snooze_until_a_time_waits_until_then(bench: Bench) -> None:
    held = await bench.held()
    until = await bench.clock() + timedelta(hours=1)
    await bench.end(held, Outcome.SNOOZED, {"until": until.isoformat()})
    assert 3590 < await wait_of(bench, held) <= 3600
    row = await bench.task(held.task_id)
    assert (row["snoozes"], row["tries"]) == (1, 0)


async def test_the_back_off_is_the_task_s_or_the_handler_s(bench: Bench) -> None:
    await bench.handler(backoff={"kind": "fixed", "base": 40, "jitter": False})
    first = await bench.held()
    await bench.end(first, Outcome.FAILED)
    assert 39 < await wait_of(bench, first) <= 40
    second = await bench.held(backoff='{"kind": "exponential", "base": 8, "jitter": false}', tries=2)
    await bench.end(second, Outcome.FAILED)
    assert 31 < await wait_of(bench, second) <= 32


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancel_wish_ends_whatever_would_have_been_repeated(bench: Bench, kind: Outcome) -> None:
    held = await bench.held()
    assert await bench.tasks.cancel(held.task_id) == "cancelling"
    await bench.end(held, kind)
    expected = {Outcome.SUCCEEDED: "succeeded", Outcome.FAILED_FINAL: "failed"}.get(kind, "cancelled")
    assert (await bench.task(held.task_id))["state"] == expected
    assert await bench.end(held, kind) is Verdict.ACCEPTED_BEFORE


async def test_three_crashes_within_72_hours_quarantine(bench: Bench) -> None:
    session = await bench.session()
    [task] = await bench.put(1)
    flags, waits = [], []
    for attempt in (1, 2, 3):
        await bench.idle_backoffs()
        assignment = await bench.claim(session)
        assert assignment is not None
        flags += assignment.flags
        held = Held(task, attempt, assignment.lease_key)
        await bench.end(held, Outcome.CRASHED, {"type": "ExecutorDied", "evidence": {"signal": 9}})
        waits.append(await wait_of(bench, held))
    row, attempts = await bench.task(task), await bench.attempts(task)
    assert (row["state"], row["crashes"], row["tries"]) == ("quarantined", 3, 0)
    assert flags == [0, 0, 2]  # alone from the second crash on
    assert waits[0] <= 0 < waits[1] <= 1
    assert [json.loads(one["evidence"]) for one in attempts] == [{"signal": 9}] * 3


async def test_old_crashes_are_forgiven(bench: Bench) -> None:
    held = await bench.held(crashes=2)
    for attempt in (1, 2):
        await bench.add_attempt(held.task_id, attempt, outcome="lost", ended_at=ago(73 * 3600))
    await bench.end(held, Outcome.CRASHED)
    row = await bench.task(held.task_id)
    assert (row["state"], row["crashes"]) == ("queued", 3)


async def test_a_crash_is_the_end_where_it_must_not_be_repeated(bench: Bench) -> None:
    held = await bench.held(retry_on_crash=False)
    await bench.end(held, Outcome.CRASHED)
    assert (await bench.task(held.task_id))["state"] == "failed"


async def test_ten_refusals_slow_it_down(bench: Bench) -> None:
    held = await bench.held(undelivered=9)
    await bench.end(held, Outcome.REFUSED)
    assert 59 < await wait_of(bench, held) <= 60


BAD_RESULTS = [
    b'{"x": "\\u0000"}',
    b'{"x": "\\ud800"}',
    b"1e999999",
    b"{",
    b"\xff\xfe",
    b'"a\x00b"',
    b"[" * 100_000 + b"]" * 100_000,
]


@pytest.mark.parametrize("bad", BAD_RESULTS, ids=range(len(BAD_RESULTS)))
async def test_a_result_that_can_t_be_held_fails_its_task_alone(bench: Bench, bad: bytes) -> None:
    await bench.put(7)
    assignment = await bench.claim(await bench.session(), 7)
    assert assignment is not None
    held = [Held(task, 1, assignment.lease_key) for task in assignment.ids]
    batch = join(outcomes(held[:3], Outcome.SUCCEEDED), outcomes([held[3]], Outcome.SUCCEEDED, bad),
                 outcomes(held[4:], Outcome.SUCCEEDED))  # fmt: skip
    assert set(await bench.dispatch.complete(batch)) == {Verdict.ACCEPTED}
    states = [(await bench.task(task))["state"] for task in assignment.ids]
    assert states == ["succeeded"] * 3 + ["failed"] + ["succeeded"] * 3
    assert json.loads((await bench.task(held[3].task_id))["error"])["type"] == "InvalidResult"
    assert set(await bench.dispatch.complete(batch)) == {Verdict.ACCEPTED_BEFORE}


@pytest.mark.parametrize(
    "bad",
    [
        b'{"type": "E", "message": "a\\u0000b", "after": 77}',
        b'{"type": "E", "message": "a\\ud800b", "after": 77}',
        b'{"type": "E", "message": "a\x00b", "after": 77}',
        b'{"type": "E", "message": "a\xffb", "after": 77}',
    ],
)
async def test_an_error_text_that_can_t_be_held_is_made_safe(bench: Bench, bad: bytes) -> None:
    held = await bench.held()
    assert await bench.end(held, Outcome.FAILED, bad) is Verdict.ACCEPTED
    error = json.loads((await bench.task(held.task_id))["error"])
    assert (error["type"], error["message"][0]) == ("E", "a")
    assert await bench.end(held, Outcome.FAILED, bad) is Verdict.ACCEPTED_BEFORE


@pytest.mark.parametrize("body", [b"", b"null", b"[1]", b'"text"', b"{", b"7"])
async def test_an_error_of_any_shape_is_taken(bench: Bench, body: bytes) -> None:
    held = await bench.held()
    assert await bench.end(held, Outcome.FAILED, body) is Verdict.ACCEPTED
    task = await bench.tasks.get(held.task_id)
    assert task is not None
    assert isinstance(task.error, dict)
    assert await bench.end(held, Outcome.FAILED, body) is Verdict.ACCEPTED_BEFORE


async def test_a_large_result_is_kept(bench: Bench) -> None:
    held = await bench.held()
    await bench.end(held, Outcome.SUCCEEDED, "x" * 250_000)
    task = await bench.tasks.get(held.task_id)
    assert task is not None
    assert task.result == "x" * 250_000


async def test_a_success_after_a_failure_shows_no_error(bench: Bench) -> None:
    session = await bench.session()
    held = await bench.held(session)
    await bench.end(held, Outcome.FAILED, {"type": "E", "after": 0})
    await bench.idle_backoffs()
    again = await bench.claim(session)
    assert again is not None
    await bench.end(Held(held.task_id, 2, again.lease_key), Outcome.SUCCEEDED, 5)
    task = await bench.tasks.get(held.task_id)
    assert task is not None
    assert (task.state, task.result, task.error, task.attempt, task.worker) == ("succeeded", 5, None, 2, "w1")
    assert [(one.outcome, one.worker) for one in await bench.tasks.attempts(held.task_id)] == [("failed", "w1")]


async def test_progress_is_kept_while_the_attempt_is_out(bench: Bench) -> None:
    held = await bench.held()
    other = await bench.held(await bench.session("w2"))
    await bench.dispatch.save_progress(
        [(held.task_id, 1, '{"done": 1}'), (held.task_id, 1, '{"done": 2}'), (other.task_id, 1, "{"),
         (other.task_id, 9, '{"done": 9}'), (10**15, 1, "{}")]
    )  # fmt: skip
    assert (await bench.task(other.task_id))["progress"] is None
    assert json.loads((await bench.task(held.task_id))["progress"]) == {"done": 2}
    await bench.dispatch.save_progress([])
    await bench.end(held, Outcome.SUCCEEDED)
    await bench.dispatch.save_progress([(held.task_id, 1, '{"done": 3}')])
    assert json.loads((await bench.task(held.task_id))["progress"]) == {"done": 2}


async def test_accepted_closes_the_window_and_started_makes_it_run(bench: Bench) -> None:
    await bench.handler(timeout=30.0)
    session = await bench.session()
    held = await bench.held(session)
    await bench.dispatch.mark([held], [])
    row = await bench.task(held.task_id)
    assert (row["state"], row["ack_by"]) == ("assigned", None)
    await bench.dispatch.mark([], [held])
    row = await bench.task(held.task_id)
    assert (row["state"], row["ack_by"]) == ("running", None)
    assert 29 < (row["exec_until"] - row["started_at"]).total_seconds() < 31
    await bench.dispatch.mark([held], [held])
    assert (await bench.task(held.task_id)) == row


async def test_an_attempt_without_a_timeout_has_no_end_that_a_clock_decides(bench: Bench) -> None:
    held = await bench.held()
    await bench.dispatch.mark([], [held])
    row = await bench.task(held.task_id)
    assert (row["state"], row["exec_until"]) == ("running", None)


async def test_marks_of_superseded_attempts_change_nothing(bench: Bench) -> None:
    held = await bench.held()
    before = await bench.task(held.task_id)
    wrong = [replace(held, attempt=2), replace(held, lease_key=b"y" * 16), replace(held, task_id=10**15)]
    await bench.dispatch.mark(wrong, wrong)
    assert await bench.task(held.task_id) == before


async def test_a_reported_outcome_of_a_running_task_keeps_its_start(bench: Bench) -> None:
    held = await bench.held()
    await bench.dispatch.mark([], [held])
    started = (await bench.task(held.task_id))["started_at"]
    await bench.end(held, Outcome.FAILED)
    [attempt] = await bench.attempts(held.task_id)
    assert attempt["started_at"] == started
