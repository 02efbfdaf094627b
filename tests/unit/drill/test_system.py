"""Whom a drill strikes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from api.cli.exits import BAD_DATA, NOT_ALLOWED, TRY_AGAIN, UNAVAILABLE, CommandFailed
from api.drill.system import System, Target, choose_coordinator, choose_worker, has_room, refuse


def worker(name: str, running: int = 0, state: str = "alive", process: str | None = None) -> dict[str, Any]:
    health = {"host": "here", "pid": 5, "process": process or f"mark-{name}"}
    return {
        "id": f"{name}-aa", "name": name, "state": state, "running": running, "slots": 4, "queues": [],
        "handlers": ["nap"], "health": health,
    }  # fmt: skip


def coordinator(name: str, workers: int = 0, *, alive: bool = True) -> dict[str, Any]:
    return {"id": name, "address": f"http://{name}:8081", "alive": alive, "workers": workers}


def tree(name: str) -> dict[str, Any]:
    return {"id": name, "host": "here", "pid": 6, "process": f"mark-{name}", "roles": ["coordinator"]}


def system(workers: list[Any], coordinators: list[Any] | None = None) -> System:
    there = [coordinator("front", 1)] if coordinators is None else coordinators
    return System(workers, there, [tree(one["id"]) for one in there])


def everywhere(_: Any) -> bool:
    return True


def nowhere(_: Any) -> bool:
    return False


def strike_worker(there: System, name: str | None = None, *, reachable: Any = everywhere, idle: bool = False) -> Target:
    return choose_worker(there, name, reachable, idle=idle)


def test_without_a_name_the_busiest_worker_in_reach_is_struck() -> None:
    there = system([worker("a", 1), worker("b", 3), worker("c", 2)])
    assert strike_worker(there).name == "b"
    assert strike_worker(there, reachable=lambda facts: facts["process"] != "mark-b").name == "c"


def test_a_name_or_an_id_says_whom() -> None:
    there = system([worker("a", 1), worker("b", 3)])
    assert strike_worker(there, "a").id == "a-aa"
    assert strike_worker(there, "a-aa").name == "a"


@pytest.mark.parametrize(
    ("workers", "name", "reachable", "code", "said"),
    [
        ([], None, everywhere, UNAVAILABLE, "no worker is connected"),
        ([worker("a"), worker("b")], None, everywhere, TRY_AGAIN, "no task runs"),
        ([worker("a", 1)], None, nowhere, NOT_ALLOWED, "--by"),
        ([worker("a", 1)], "b", everywhere, BAD_DATA, 'no worker "b" is connected (NAME): there are a-aa'),
        ([worker("a", 1, state="lost")], "a", everywhere, BAD_DATA, 'no worker "a"'),
        ([worker("a", 1), worker("a", 2)], "a", everywhere, BAD_DATA, "names 2 workers"),
    ],
)
def test_what_can_not_be_struck_is_said(workers: Any, name: Any, reachable: Any, code: int, said: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        strike_worker(system(workers), name, reachable=reachable)
    assert failed.value.code == code
    assert said in str(failed.value)


def test_an_idle_worker_is_struck_only_when_asked_for() -> None:
    assert strike_worker(system([worker("a"), worker("b")]), idle=True).name == "a"


def test_the_coordinator_with_most_workers_is_struck_or_the_named_one() -> None:
    there = system(
        [], [coordinator("front"), coordinator("one", 2), coordinator("two", 1), coordinator("x", alive=False)]
    )
    assert choose_coordinator(there, None, everywhere, idle=False).id == "one"
    assert choose_coordinator(there, "tw", everywhere, idle=False).id == "two"
    assert choose_coordinator(there, "http://front:8081", everywhere, idle=False).id == "front"
    with pytest.raises(CommandFailed, match='no coordinator "x"'):
        choose_coordinator(there, "x", everywhere, idle=False)


def test_the_last_worker_is_spared_unless_forced() -> None:
    there = system([worker("a", 1), worker("b", state="draining")])
    target = strike_worker(there, "a")
    with pytest.raises(CommandFailed, match="the only worker") as failed:
        refuse(there, target, freeze=False, restarts=True, force=False)
    assert failed.value.code == NOT_ALLOWED
    refuse(there, target, freeze=False, restarts=False, force=True)
    more = system([worker("a", 1), worker("b")])
    refuse(more, strike_worker(more, "a"), freeze=False, restarts=False, force=False)


def test_a_coordinator_that_is_the_only_one_must_be_started_again_by_something() -> None:
    there = system([], [coordinator("front", 2)])
    target = choose_coordinator(there, None, everywhere, idle=False)
    assert target.serves_api  # the first tree is that of the api that was asked
    refuse(there, target, freeze=False, restarts=True, force=False)
    refuse(there, target, freeze=False, restarts=False, force=True)
    with pytest.raises(CommandFailed, match="nothing known here starts it again"):
        refuse(there, target, freeze=False, restarts=False, force=False)


def test_a_node_that_serves_the_api_is_never_frozen() -> None:
    there = system([], [coordinator("front", 2), coordinator("other")])
    target = choose_coordinator(there, "front", everywhere, idle=False)
    with pytest.raises(CommandFailed, match="can't answer while frozen"):
        refuse(there, target, freeze=True, restarts=True, force=True)
    refuse(there, choose_coordinator(there, "other", everywhere, idle=True), freeze=True, restarts=False, force=False)


def test_a_worker_in_the_process_of_the_api_counts_as_the_api() -> None:
    there = system([worker("all", 1, process="mark-front"), worker("b")])
    target = strike_worker(there, "all")
    with pytest.raises(CommandFailed, match="serves the API"):
        refuse(there, target, freeze=False, restarts=False, force=False)


@pytest.mark.parametrize(
    ("change", "room"),
    [({}, True), ({"running": 4}, False), ({"state": "paused"}, False), ({"handlers": []}, False),
     ({"queues": ["mail"]}, False), ({"queues": ["mail", "default"]}, True)],
)  # fmt: skip
def test_room_is_a_free_slot_of_a_worker_that_may_run_it(change: dict[str, Any], room: bool) -> None:
    task = {"name": "nap", "queue": "default"}
    assert has_room(task, [worker("victim"), worker("b") | change], "victim-aa") is room
