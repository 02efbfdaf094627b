"""What a watch writes down, in virtual time, over an API that is told what to answer and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.model.lease import DEFAULT
from api.cli.exits import UNAVAILABLE, CommandFailed
from api.drill.bounds import coordinator_bounds, worker_bounds
from api.drill.judge import judge
from api.drill.record import Record
from api.drill.system import Target
from api.drill.watch import Watch, held_at_strike

WORKER = Target(kind="worker", id="w1-aa", name="w1", host="h", pid=7, process="x", serves_api=False)
COORDINATOR = Target(kind="coordinator", id="h-1", name="h-1", host="h", pid=7, process="x", serves_api=True)


class Hand:
    """Strikes nothing; tells whether it was taken back."""

    what, back = "strikes", "unstruck"

    def __init__(self, restarted_by: str | None = None, *, freeze: bool = False) -> None:
        self.restarted_by, self._frozen, self.undone_at = restarted_by, freeze, -1.0
        self.clock: Callable[[], float] = lambda: 0.0

    def strike(self) -> None: ...

    def undo(self) -> bool:
        was, self._frozen = self._frozen, False
        if was:
            self.undone_at = self.clock()
        return was


class System:
    """Answers by the virtual time since the strike."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.lost_at = 3.0
        self.again_at = 3.2
        self.returned_at = 1e9
        self.away = (1e9, 1e9)
        self.gone: set[str] = set()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def task(self, number: str) -> dict[str, Any]:
        started = self.now >= self.again_at
        held = self.now < self.lost_at
        return {
            "id": number, "name": "nap", "queue": "default", "crashes": 0, "attempt": 2 if started else 1,
            "worker": "w1-aa" if held else "w2-bb" if started else None,
            "state": "running" if held or started else "queued",
        }  # fmt: skip

    def ask(self, path: str, **query: Any) -> Any:
        self.asked += 1
        if self.away[0] <= self.now < self.away[1]:
            raise CommandFailed("no Callboard answers", UNAVAILABLE)
        match path.strip("/").split("/"):
            case ["workers"]:
                return {"items": [self.worker("w1"), self.worker("w2")]}
            case ["workers", "w1-aa"]:
                return self.worker("w1")
            case ["coordinators"]:
                return {"items": [self.coordinator("h-1"), self.coordinator("h-2")]}
            case ["tasks"]:
                return {"items": [self.task("1")] if self.now < self.lost_at else []}
            case ["tasks", number] if number in self.gone:
                raise CommandFailed("there is no task", 1, 404)
            case ["tasks", number]:
                return self.task(number)
            case ["tasks", _, "attempts"]:
                return {"items": self.attempts()}
        raise AssertionError(path)

    def worker(self, name: str) -> dict[str, Any]:
        lost = name == "w1" and self.lost_at <= self.now < self.returned_at
        identity = {"w1": "w1-aa", "w2": "w2-bb"}[name]
        return {
            "id": identity, "name": name, "state": "lost" if lost else "alive", "running": 0, "slots": 4,
            "queues": [], "handlers": ["nap"],
        }  # fmt: skip

    def coordinator(self, name: str) -> dict[str, Any]:
        return {"id": name, "alive": True, "workers": 2 if (name == "h-1") == (self.now < self.lost_at) else 0}

    def attempts(self) -> list[dict[str, Any]]:
        lost = {"attempt": 1, "outcome": "lost", "accepted": True, "started_at": "then"}
        late = {"attempt": 1, "outcome": "cancelled", "accepted": False, "started_at": "then"}
        return [lost, late] if self.now >= self.returned_at + 0.5 else [lost]


def watch(system: System, target: Target, hand: Hand, *, freeze: bool = False) -> Record:
    bounds = worker_bounds(DEFAULT, frozen=freeze) if target is WORKER else coordinator_bounds(DEFAULT, others=True)
    record = Record(target, freeze, bounds, held_at_strike([system.task("1")], []))
    hand.clock = system.clock
    one = Watch(system.ask, record, lambda *_: None, clock=system.clock, sleep=system.sleep)
    one.began()
    return one.run(hand, [{"id": "w1-aa"}, {"id": "w2-bb"}, {"id": "h-1"}])


def test_a_kill_is_watched_until_its_tasks_are_assigned_again() -> None:
    system = System()
    facts = judge(watch(system, WORKER, Hand()))
    assert facts["ok"], facts["problems"]
    assert 3.0 <= facts["noticed_after"] <= 3.1
    assert 3.2 <= facts["again_after"]["max"] <= 3.3
    assert facts["repeated"] == 1
    assert system.now < 4


def test_what_never_comes_is_waited_for_only_so_long() -> None:
    system = System()
    system.again_at = 1e9
    record = watch(system, WORKER, Hand())
    assert 14 <= record.watched_for <= 15  # twice the bound, and 5 s
    assert "not assigned again" in judge(record)["problems"][0]


def test_a_freeze_ends_before_its_late_outcomes_are_waited_for() -> None:
    system, hand = System(), Hand(freeze=True)
    system.lost_at, system.again_at, system.returned_at = 13.0, 13.3, 15.0
    facts = judge(watch(system, WORKER, hand, freeze=True))
    assert facts["ok"], facts["problems"]
    assert 13.3 <= hand.undone_at < 15.0
    assert 15.0 <= facts["returned_after"] <= 15.1
    assert facts["late_outcomes_refused"] == 1


def test_a_coordinator_that_takes_the_api_along_is_watched_all_the_same() -> None:
    system = System()
    system.away, system.lost_at, system.again_at = (0.1, 1.5), 2.0, 1e9
    record = watch(system, COORDINATOR, Hand("a supervisor"))
    assert record.noticed is not None
    assert 2.0 <= record.noticed <= 2.1
    assert 1.3 <= record.api_away <= 1.6
    assert record.back is not None
    assert record.back[0] == "h-2"


def test_a_task_that_is_gone_is_lost() -> None:
    system = System()
    system.gone = {"1"}
    assert judge(watch(system, WORKER, Hand()))["lost"] == 1


def test_an_api_that_stays_away_ends_the_watch_with_its_own_error() -> None:
    system = System()
    system.away = (0.1, 1e9)
    with pytest.raises(CommandFailed) as failed:
        watch(system, WORKER, Hand())
    assert failed.value.code == UNAVAILABLE


def test_of_many_tasks_some_are_timed_and_all_are_kept() -> None:
    rows = [{"id": str(number)} for number in range(950)]
    found = held_at_strike(rows, [*rows, {"id": "new"}])
    assert len(found) == 951
    assert 50 < sum(one.timed for one in found) <= 100
