"""What a drill calls a success, and what breaks the promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.model.lease import DEFAULT, FAST, TEST
from api.drill.bounds import Bounds, coordinator_bounds, terms_from, worker_bounds
from api.drill.judge import at_risk, judge
from api.drill.record import Record, Watched
from api.drill.system import Target

VICTIM, OTHER = "w1-aa", "w2-bb"
WORKER = Target(kind="worker", id=VICTIM, name="w1", host="h", pid=7, process="x", serves_api=False)
COORDINATOR = replace(WORKER, kind="coordinator", id="h-1", name="h-1")


def row(number: int, attempt: int = 1, state: str = "running", worker: str | None = VICTIM, **more: Any) -> Any:
    return {"id": str(number), "attempt": attempt, "state": state, "worker": worker, "crashes": 0, **more}


def end(attempt: int, outcome: str, *, begun: bool = True, accepted: bool = True) -> Any:
    started = "2026-01-01T00:00:00Z" if begun else None
    return {"attempt": attempt, "outcome": outcome, "accepted": accepted, "worker": VICTIM, "started_at": started}


def taken_over(number: int, after: float = 3.2) -> Watched:
    """Lost with the worker, and begun again on another one."""
    return Watched(row(number), row(number, 2, worker=OTHER), again=after, attempts=[end(1, "lost")])


def a_kill(*tasks: Watched, **changes: Any) -> Record:
    record = Record(WORKER, False, worker_bounds(DEFAULT, frozen=False), list(tasks), noticed=3.1, watched_for=9.0)
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def test_the_bounds_are_those_of_the_lease_terms() -> None:
    assert worker_bounds(DEFAULT, frozen=False) == Bounds(noticed=4.0, again=4.5)
    assert worker_bounds(DEFAULT, frozen=True) == Bounds(noticed=15.0, again=15.5)
    assert worker_bounds(FAST, frozen=False).again == 3.5
    assert worker_bounds(FAST, frozen=True).again == 11.5
    assert coordinator_bounds(DEFAULT, others=True).noticed == 8.5
    assert coordinator_bounds(DEFAULT, others=False).noticed == 10.5
    for terms in (DEFAULT, FAST, TEST):
        assert coordinator_bounds(terms, others=True).noticed <= coordinator_bounds(terms, others=False).noticed


def test_terms_of_another_release_are_read_as_far_as_they_are_known() -> None:
    found = terms_from({"lease": 20.0, "grace": 5.0, "patience": 1.0})
    assert found is not None
    assert (found.lease, found.grace, found.sweep) == (20.0, 5.0, DEFAULT.sweep)
    assert terms_from(None) is None


def test_tasks_that_begin_again_in_time_are_a_success() -> None:
    facts = judge(a_kill(taken_over(1, 3.2), taken_over(2, 4.1), Watched(row(3), row(3, state="succeeded"))))
    assert facts["ok"], facts["problems"]
    assert (facts["tasks"], facts["repeated"], facts["undisturbed"], facts["lost"]) == (3, 2, 1, 0)
    assert facts["again_after"] == {"p50": 4.1, "max": 4.1}
    assert facts["noticed_after"] == 3.1


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Watched(row(1), None), "lost: 1 tasks (1)"),
        (Watched(row(1), row(1)), "lost: 1 tasks (1)"),  # its worker is dead, and it is still there
        (taken_over(1, 4.8), "not assigned again within 4.5 s"),
        (Watched(row(1), row(1, state="queued", worker=None)), "not assigned again within 4.5 s"),
        (
            Watched(row(1), row(1, 2, "succeeded", OTHER), 3.0, attempts=[end(1, "succeeded")]),
            "recorded twice: 1 tasks (1)",
        ),
    ],
)
def test_what_breaks_the_promise_is_named(task: Watched, said: str) -> None:
    facts = judge(a_kill(task))
    assert not facts["ok"]
    assert said in "; ".join(facts["problems"])


def test_a_worker_that_is_noticed_too_late_or_never_is_out_of_bounds() -> None:
    assert "after 4.3 s, the bound is 4.0 s" in judge(a_kill(noticed=4.3))["problems"][0]
    assert "was not shown as lost within 9.0 s" in judge(a_kill(noticed=None))["problems"][0]
    assert judge(a_kill(noticed=4.1))["ok"]  # a look comes up to a round after what it sees


def test_waiting_for_room_is_no_breach_and_neither_is_the_pause_after_an_earlier_loss() -> None:
    full = Watched(row(1), row(1, state="queued", worker=None), room=False)
    paused = replace(taken_over(2, 5.4), before=row(2) | {"crashes": 1})
    facts = judge(a_kill(full, paused))
    assert facts["ok"], facts["problems"]
    assert (facts["waiting"], facts["repeated"]) == (1, 1)
    assert not judge(a_kill(replace(taken_over(2, 5.8), before=row(2) | {"crashes": 1})))["ok"]


@pytest.mark.parametrize("outcome", ["undelivered", "released"])
def test_what_had_not_begun_is_not_repeated(outcome: str) -> None:
    moved = Watched(row(1, state="assigned"), row(1, 2, worker=OTHER), 3.0, attempts=[end(1, outcome, begun=False)])
    facts = judge(a_kill(moved))
    assert facts["ok"]
    assert (facts["repeated"], facts["moved_unharmed"]) == (0, 1)


def test_an_attempt_that_failed_by_itself_is_not_counted_as_repeated_by_the_drill() -> None:
    own = Watched(row(1), row(1, 2, worker=OTHER), 3.0, attempts=[end(1, "failed")])
    assert judge(a_kill(own))["repeated"] == 0


def test_a_task_that_is_given_up_after_a_loss_is_shown_as_ended() -> None:
    given_up = Watched(row(1), row(1, state="quarantined", worker=None), attempts=[end(1, "lost")])
    facts = judge(a_kill(given_up))
    assert facts["ok"]
    assert facts["ended"] == 1


def test_late_outcomes_of_a_frozen_worker_are_counted() -> None:
    late = taken_over(1, 14.0)
    late.attempts = [end(1, "lost"), end(1, "succeeded", accepted=False)]
    record = a_kill(late, freeze=True, bounds=worker_bounds(DEFAULT, frozen=True), noticed=13.9, unfrozen=True)
    facts = judge(record)
    assert facts["ok"], facts["problems"]
    assert facts["late_outcomes_refused"] == 1
    record.unfrozen = False
    assert judge(record)["problems"] == ["worker w1 is still frozen"]


def a_coordinator_kill(*tasks: Watched) -> Record:
    bounds = coordinator_bounds(DEFAULT, others=True)
    return Record(COORDINATOR, False, bounds, list(tasks), noticed=0.8, watched_for=4.0)


def test_a_coordinators_death_leaves_tasks_where_they_are() -> None:
    facts = judge(a_coordinator_kill(Watched(row(1), row(1)), Watched(row(2), row(2, state="succeeded"))))
    assert facts["ok"]
    assert facts["undisturbed"] == 2


@pytest.mark.parametrize(
    "task",
    [
        taken_over(1),
        Watched(row(1), row(1, state="queued", worker=None), attempts=[end(1, "lost")]),
        Watched(row(1), row(1, 2, worker=OTHER), 3.0, attempts=[end(1, "released")]),  # it had begun
    ],
)
def test_a_coordinators_death_that_repeats_work_is_out_of_bounds(task: Watched) -> None:
    facts = judge(a_coordinator_kill(task))
    assert facts["problems"] == ["a coordinator's death must repeat nothing, and did: 1 tasks (1)"]


def test_tasks_that_were_lost_twice_are_counted_before_they_are_lost_again() -> None:
    assert at_risk([row(1), row(2) | {"crashes": 1}, row(3) | {"crashes": 2}]) == 1
