"""Every way in which an attempt can end, as the node hears of it."""

from __future__ import annotations

import time

import pytest

from callboard.executor.frames import Ping, Pong, Progress, Ready, Started
from callboard.executor.outcomes import Outcome
from tests.integration.executor.conftest import KEY, Start


def test_handlers_are_declared_as_decorated(start: Start) -> None:
    node = start()
    declared = {one.name: one for one in node.wait_for(Ready).handlers}
    add = declared["add"]
    assert (add.queue, add.max_tries, add.timeout, add.isolated) == ("math", 2, 9.0, True)
    assert add.backoff == {"kind": "exponential", "base": 2.0, "cap": 3600.0, "jitter": True}
    assert add.args == {"x": "int", "y": "int = 1"}
    assert (declared["noop"].queue, declared["noop"].max_tries, declared["noop"].isolated) == (None, None, False)


def test_attempts_end_in_every_way(start: Start) -> None:
    node = start()
    (good,) = node.run("add", {"x": 2}, attempt=3)
    (none,) = node.run("noop", {}, key=b"other key 123456")
    (thread,) = node.run("plain", {"x": 1})
    kinds = ("error", "retry", "fail", "snooze", "exit", "interrupt", "base", "large", "nul", "nan")
    ids = dict(zip(kinds, node.run("trouble", *[{"kind": kind} for kind in kinds]), strict=True))
    (misfit,) = node.run("add", {"x": "2", "z": 1})
    (unknown,) = node.run("nobody", {})
    (thread_exit,) = node.run("thread_exit", {})
    ends = {name: node.end(id) for name, id in ids.items()}

    assert node.end(good).body == {"sum": 3, "task": str(good), "attempt": 3}
    assert (node.end(good).kind, node.end(good).attempt, node.end(good).key) == (Outcome.SUCCEEDED, 3, KEY)
    assert (node.end(none).body, node.end(none).key) == (None, b"other key 123456")
    assert node.end(thread).body == {"x": 1, "main": False}
    assert ends["error"].seen == (Outcome.FAILED, "ValueError")
    assert ends["error"].body["traceback"].splitlines()[1].endswith("in trouble")
    assert ends["retry"].seen == (Outcome.FAILED, "Retry")
    assert ends["retry"].body["after"] == 7
    assert ends["fail"].seen == (Outcome.FAILED_FINAL, "Fail")
    assert ends["snooze"].seen == (Outcome.SNOOZED, "Snooze")
    assert ends["snooze"].body["after"] == 60
    assert ends["exit"].seen == node.end(thread_exit).seen == (Outcome.FAILED, "SystemExit")
    assert ends["interrupt"].seen == (Outcome.FAILED, "KeyboardInterrupt")
    assert ends["base"].seen == (Outcome.FAILED, "BaseException")
    assert ends["large"].seen == (Outcome.FAILED_FINAL, "ResultTooLarge")
    assert "300002 bytes" in ends["large"].body["message"]
    assert ends["nul"].seen == ends["nan"].seen == (Outcome.FAILED_FINAL, "InvalidResult")
    assert node.end(misfit).seen == (Outcome.FAILED_FINAL, "InvalidArguments")
    assert "argument 'z' is unknown; argument 'x': expected `int`, got `str`" in node.end(misfit).body["message"]
    assert node.end(unknown).seen == (Outcome.REFUSED, "UnknownHandler")


@pytest.mark.parametrize(
    ("reason", "seen"),
    [
        ("cancelled", (Outcome.CANCELLED, "Cancelled")),
        ("drain", (Outcome.RELEASED, "Drain")),
        ("lease", (Outcome.RELEASED, "Lease")),
        ("session", (Outcome.RELEASED, "Session")),
    ],
)
def test_a_stop_ends_what_runs_and_what_waits(start: Start, reason: str, seen: tuple[Outcome, str]) -> None:
    node = start(slots=2)
    runs, swallows, waits = node.run("sleeper", {}, {"swallow": True}, {})
    (finishes,) = node.run("sleeper", {"finish": True})
    node.wait_for(Started)
    node.stop(runs, swallows, waits, 10**9, reason=reason)
    assert node.end(runs).seen == node.end(swallows).seen == node.end(waits).seen == seen
    node.wait(lambda: any(finishes in started.ids for started in node.of(Started)))
    node.stop(finishes, reason=reason)
    end = node.end(finishes)
    assert (end.kind, end.body) == (Outcome.SUCCEEDED, "done in spite of it")


def test_a_timeout_ends_tasks_and_threads_when_they_have_left(start: Start) -> None:
    node = start()
    began = time.monotonic()
    (task, swallows) = node.run("sleeper", {}, {"swallow": True}, timeout=0.1)
    (obedient, deaf) = node.run(
        "thread", {"seconds": 5, "obedient": True}, {"seconds": 0.4, "obedient": False}, timeout=0.1
    )
    assert node.end(task).seen == node.end(swallows).seen == node.end(obedient).seen == (Outcome.TIMED_OUT, "TimedOut")
    assert deaf not in node.ends
    assert node.end(deaf).body == "reached the end"
    assert time.monotonic() - began >= 0.4


def test_a_cancelled_thread_is_reported_when_it_has_left(start: Start) -> None:
    node = start()
    obedient, deaf = node.run("thread", {"seconds": 5, "obedient": True}, {"seconds": 0.5, "obedient": False})
    node.wait_for(Started)
    node.stop(obedient, deaf)
    assert node.end(obedient).seen == (Outcome.CANCELLED, "Cancelled")
    assert deaf not in node.ends
    node.send(Ping(1))
    assert node.wait_for(Pong).running == 1  # its slot is still taken
    assert node.end(deaf).kind is Outcome.SUCCEEDED


@pytest.mark.bad_input("GR28")
def test_what_finds_no_slot_is_handed_back(start: Start) -> None:
    node = start(slots=1, start_limit=0.2)
    runs, waits = node.run("nap", {"seconds": 0.6}, {"seconds": 0})
    assert node.end(waits).seen == (Outcome.RELEASED, "NoSlot")
    assert node.end(runs).kind is Outcome.SUCCEEDED


def test_a_newer_attempt_of_the_same_task_stops_the_older_one(start: Start) -> None:
    node = start()
    node.run("sleeper", {}, ids=[77])
    node.wait_for(Started)
    node.run("noop", {}, ids=[77], attempt=2, key=b"2" * 16)
    node.wait(lambda: len(node.history) == 2)
    seen = sorted((end.attempt, end.kind) for end in node.history)
    assert seen == [(1, Outcome.RELEASED), (2, Outcome.SUCCEEDED)]


def test_only_what_takes_a_while_is_reported_as_started(start: Start) -> None:
    node = start()
    quick = node.run("noop", *[{}] * 50)
    (slow,) = node.run("nap", {"seconds": 0.25})
    node.end(slow)
    assert [started.ids for started in node.of(Started)] == [[slow]]
    assert all(node.ends[id].kind is Outcome.SUCCEEDED for id in quick)


def test_progress_is_thinned_and_its_last_value_comes_before_the_end(start: Start) -> None:
    node = start()
    (id,) = node.run("many_values", {"count": 150})
    node.end(id)
    values = node.of(Progress)
    assert 2 <= len(values) <= 12
    assert values[-1].value == '{"done":150,"total":150,"message":"at 150"}'
    (id,) = node.run("thread_progress", {})
    node.end(id)
    texts = [one.value for one in node.of(Progress) if one.id == id]
    assert len(texts) <= 5
    assert texts[-1] == '{"done":1000,"total":null,"message":null}'
    assert "\\u0000" not in "".join(texts)


def test_context_variables_do_not_leak_from_one_handler_to_the_next(start: Start) -> None:
    node = start(slots=1)
    ids = node.run("taste", *[{}] * 5)
    assert {node.end(id).body for id in ids} == {"plain"}


def test_a_handler_that_blocks_delays_its_neighbours_and_no_more(start: Start) -> None:
    node = start()
    (blocks, sleeps) = (node.run("hold", {"seconds": 0.3})[0], node.run("nap", {"seconds": 0.01})[0])
    node.send(Ping(5))
    pong = node.wait_for(Pong)
    assert pong.number == 5
    assert node.end(blocks).kind is node.end(sleeps).kind is Outcome.SUCCEEDED


def test_five_thousand_tasks_come_back_each_once(start: Start) -> None:
    node = start(slots=10)
    node.run("noop", {})
    began = time.monotonic()
    for _ in range(20):
        node.run("noop", *[{}] * 250)
    node.wait(lambda: len(node.ends) == 5001)
    assert {end.kind for end in node.ends.values()} == {Outcome.SUCCEEDED}
    assert time.monotonic() - began < 3
