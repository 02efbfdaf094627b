"""What a drill reads of a system before it strikes, and whom it may strike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.cli.exits import BAD_DATA, NOT_ALLOWED, TRY_AGAIN, UNAVAILABLE, CommandFailed

Row = Mapping[str, Any]  # an object as the API shows it
Ask = Callable[..., Any]  # path and query of a GET → the answer; raises CommandFailed
HELD = "assigned,running,cancelling"
LIMIT = 1000  # tasks that are watched; one page of the API


@dataclass(frozen=True, slots=True)
class System:
    """Workers, coordinators and the supervision trees of all server nodes; the first is that of the api asked."""

    workers: Sequence[Row]
    coordinators: Sequence[Row]
    trees: Sequence[Row]

    def tree_of(self, node: str) -> Row:
        return next((tree for tree in self.trees if tree.get("id") == node), {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One node, and what it says of its process."""

    kind: str  # "worker" or "coordinator"
    id: str
    name: str
    host: str | None
    pid: int | None
    process: str | None  # the mark of its process
    serves_api: bool  # the api that is asked is this very process

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"


def read_system(ask: Ask) -> System:
    return System(ask("/workers")["items"], ask("/coordinators")["items"], ask("/supervision")["items"])


def read_held(ask: Ask, target: Target) -> list[Row]:
    """The tasks that a worker holds; for a coordinator all that any worker holds: its death must repeat none."""
    where = {"worker": target.id} if target.kind == "worker" else {}
    found: list[Row] = ask("/tasks", state=HELD, limit=LIMIT, **where)["items"]
    return found


def choose_worker(system: System, name: str | None, reachable: Callable[[Row], bool], *, idle: bool) -> Target:
    """The named one, else that which runs most. Raises CommandFailed: 65 unknown, 75 nothing runs, 77 out of reach."""
    there = [one for one in system.workers if one["state"] not in ("lost", "closed")]
    if name is None:
        worker = _busiest(there, "running", reachable, "worker", idle)
    else:
        worker = _named([one for one in there if name in (one["id"], one["name"])], there, name, "worker")
    facts = worker["health"]
    return _target("worker", worker["id"], worker["name"], facts, system)


def choose_coordinator(system: System, name: str | None, reachable: Callable[[Row], bool], *, idle: bool) -> Target:
    """The named one, else that with most workers. Raises CommandFailed as `choose_worker` does."""
    there = [one for one in system.coordinators if one["alive"]]
    if name is None:
        found = _busiest(there, "workers", lambda one: reachable(system.tree_of(one["id"])), "coordinator", idle)
    else:
        fitting = [one for one in there if name == one["address"] or str(one["id"]).startswith(name)]
        found = _named(fitting, there, name, "coordinator")
    return _target("coordinator", found["id"], found["id"], system.tree_of(found["id"]), system)


def _target(kind: str, node: str, name: str, facts: Row, system: System) -> Target:
    process = facts.get("process")
    asked = system.trees[0] if system.trees else {}
    return Target(
        kind=kind, id=node, name=name, host=facts.get("host"), pid=facts.get("pid"), process=process,
        serves_api=process is not None and process == asked.get("process"),
    )  # fmt: skip


def _named(fitting: Sequence[Row], there: Sequence[Row], name: str, kind: str) -> Row:
    if len(fitting) == 1:
        return fitting[0]
    ids = ", ".join(str(one["id"]) for one in fitting or there) or "none"
    if fitting:
        raise CommandFailed(f'"{name}" names {len(fitting)} {kind}s (NAME): write one of {ids}', BAD_DATA)
    raise CommandFailed(f'no {kind} "{name}" is connected (NAME): there are {ids}', BAD_DATA)


def _busiest(there: Sequence[Row], by: str, reachable: Callable[[Row], bool], kind: str, idle: bool) -> Row:
    if not there:
        raise CommandFailed(f"no {kind} is connected: there is nothing to strike", UNAVAILABLE)
    busy = [one for one in there if idle or one[by]]
    if not busy:
        raise CommandFailed(nothing_runs("no task runs" if kind == "worker" else "no worker is linked"), TRY_AGAIN)
    near = [one for one in busy if reachable(one if kind == "coordinator" else one["health"])]
    if not near:
        names = ", ".join(str(one["id"]) for one in busy)
        raise CommandFailed(
            f"no {kind} that works runs on this machine ({names}): run the drill where one of them runs, "
            "or say how to reach it with --by, as in --by 'docker kill {host}'",
            NOT_ALLOWED,
        )
    return max(near, key=lambda one: int(one[by]))


def nothing_runs(what: str) -> str:
    return (
        f"{what}, so there is nothing to judge: try again when tasks of some seconds run, "
        "or take --idle to judge only how soon it is noticed"
    )


def refuse(system: System, target: Target, *, freeze: bool, restarts: bool, force: bool) -> None:
    """Raises CommandFailed 77 where the drill would leave a system that can't go on, or could not be watched."""
    if target.serves_api and freeze:
        raise CommandFailed(
            f"{target.title} serves the API that is asked, and can't answer while frozen: name another api with --url",
            NOT_ALLOWED,
        )
    if target.serves_api and not restarts and not force:
        raise CommandFailed(
            f"{target.title} serves the API that is asked, and nothing known here starts it again: name another "
            "api with --url, or take --force if something does (systemd, Docker)",
            NOT_ALLOWED,
        )
    if not force and not others(system, target) and not (target.kind == "coordinator" and restarts and not freeze):
        raise CommandFailed(
            f"{target.title} is the only {target.kind}: its tasks would have nowhere to go; start another one, or "
            "take --force",
            NOT_ALLOWED,
        )


def others(system: System, target: Target) -> list[Row]:
    """Who takes over."""
    if target.kind == "coordinator":
        return [one for one in system.coordinators if one["alive"] and one["id"] != target.id]
    return [one for one in system.workers if one["state"] == "alive" and one["id"] != target.id]


def has_room(task: Row, workers: Sequence[Row], but: str) -> bool:
    """Whether a worker other than `but` could take the task now."""
    return any(
        one["id"] != but and one["running"] < one["slots"] and one["state"] == "alive" and knows(one, task)
        for one in workers
    )


def knows(worker: Row, task: Row) -> bool:
    """Whether it has the handler and serves the queue."""
    return task["name"] in worker["handlers"] and (not worker["queues"] or task["queue"] in worker["queues"])
