"""Builds the history of a correct run: a worker dies, a try fails, tasks are cancelled, a worker drains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.check_history.finality import digest
from tests.check_history.history import SECOND, History

BASE = 1000.0  # database time at zero
PIDS = {"client": 1, "nemesis": 2, "sampler": 3, "front": 4, "c1": 5, "c2": 6, "w1": 7, "w2": 8}
HANDLERS = {"w1": 17, "w2": 18}
OPEN = {"tries": 0, "crashes": 0, "undelivered": 0, "cancel": False}
TERMS = {
    "heartbeat": 0.4,
    "lease": 3.0,
    "margin": 0.4,
    "grace": 1.0,
    "ack_window": 1.0,
    "renew": 0.2,
    "sweep": 0.3,
    "dispatch": 0.3,
    "statement": 1.0,
    "quiet": 3.2,
    "silence": 1.2,
}


class Scene:
    """Steps are told in any order; `history` puts them in order. Times are in seconds."""

    def __init__(self) -> None:
        self.noted: list[tuple[float, str, dict[str, Any]]] = []
        self.audited: list[dict[str, Any]] = []
        self.tasks: dict[int, dict[str, Any]] = {}
        self.attempts: list[dict[str, Any]] = []
        self.ops = 0

    def note(self, at: float, file: str, event: str, **fields: Any) -> None:
        self.noted.append((at, file, {"event": event} | fields))

    def change(self, at: float, task: int, state: str, actor: str = "work", **fields: Any) -> None:
        row = self.tasks[task]
        old = {"old_state": row["state"] or None, "old_attempt": row["attempt"] if row["state"] else None}
        row |= fields | {"state": state}
        keep = {name: row[name] for name in (*OPEN, "attempt", "lease_key", "session", "run_at")}
        self.audited.append(
            {"at": BASE + at, "table": "tasks", "key": task, "new_state": state, "actor": f"callboard {actor}"}
            | old
            | keep
        )

    def session(self, at: float, session: int, old: str | None, new: str, epoch: int = 1) -> None:
        self.audited.append(
            {
                "at": BASE + at,
                "table": "workers",
                "key": session,
                "session": session,
                "old_state": old,
                "new_state": new,
                "epoch": epoch,
                "actor": "callboard control",
            }
        )

    def submit(self, at: float, task: int, key: str | None = None, **fields: Any) -> None:
        self.ops += 1
        self.note(at, "client", "submit_invoke", op=self.ops, key=key or f"k{task}", body_hash="b", name="nap")
        self.note(at + 0.02, "client", "submit_ok", op=self.ops, task=task)
        if task not in self.tasks:
            self.tasks[task] = (
                OPEN
                | {
                    "id": task,
                    "state": "",
                    "attempt": 0,
                    "lease_key": None,
                    "session": None,
                    "run_at": BASE + at,
                    "lane_id": 1,
                    "priority": 2,
                    "max_tries": None,
                    "exclusive": False,
                    "retry_of": None,
                    "result": None,
                }
                | fields
            )
            self.change(at + 0.01, task, "queued", "api")

    def assign(self, at: float, task: int, session: int, coordinator: str = "c1") -> None:
        attempt = self.tasks[task]["attempt"] + 1
        key = f"{task:016x}{attempt:016x}"
        self.change(at, task, "assigned", attempt=attempt, lease_key=key, session=session)
        self.note(at + 0.01, coordinator, "claim", key=key, tasks=[[task, attempt]])
        row = {"task": task, "attempt": attempt, "lease_key": key, "worker": f"w{min(session, 2)}", "slots": 2}
        self.note(at + 0.02, f"h{min(session, 2)}", "exec_start", **row)

    def end(
        self, at: float, task: int, how: str, outcome: str, state: str, verdict: str = "accepted", **more: Any
    ) -> None:
        row = self.tasks[task]
        worker = min(row["session"], 2)
        self.note(at, f"h{worker}", "exec_end", task=task, attempt=row["attempt"], how=how)
        self.change(at + 0.02, task, state, **more)
        self.note(
            at + 0.04,
            f"w{worker}",
            "verdict",
            task=task,
            attempt=row["attempt"],
            key=row["lease_key"],
            kind=outcome,
            verdict="accepted",
        )
        if outcome == "succeeded":
            row["result"] = "1"
        else:
            self.ended(task, outcome)

    def ended(self, task: int, outcome: str) -> None:
        row = self.tasks[task]
        self.attempts.append(
            {
                "task_id": task,
                "attempt": row["attempt"],
                "outcome": outcome,
                "accepted": True,
                "session_id": row["session"],
            }
        )

    def lose(self, at: float, task: int) -> None:
        row = self.tasks[task]
        self.change(at, task, "queued", "control", crashes=row["crashes"] + 1)
        self.ended(task, "lost")

    def cancel(self, at: float, task: int, answer: str) -> None:
        self.ops += 1
        self.note(at, "client", "cancel_invoke", op=self.ops, task=task)
        self.change(at + 0.01, task, "cancelled" if answer == "cancelled" else "running", "api", cancel=True)
        self.note(at + 0.02, "client", "cancel_ok", op=self.ops, task=task, answer=answer)


def correct(more: Callable[[Scene], None] | None = None) -> History:
    """Sessions 1 and 2 at w1 and w2. w1 dies at 10; c1 goes at 12; w2 drains at 30. `more` happens besides."""
    scene = Scene()
    scene.session(1, 1, None, "live")
    scene.session(1, 2, None, "live")
    scene.note(1.1, "w1", "hello", session=1, slots=2)
    scene.note(1.1, "w2", "hello", session=2, slots=2)
    scene.submit(2.0, 1)
    scene.assign(2.1, 1, 1)
    scene.end(3.0, 1, "return", "succeeded", "succeeded")
    scene.submit(2.0, 2)  # its first try fails
    scene.assign(2.2, 2, 2)
    scene.end(2.5, 2, "raise", "failed", "queued", tries=1, run_at=BASE + 3)
    scene.assign(3.1, 2, 1)
    scene.end(3.5, 2, "return", "succeeded", "succeeded")
    scene.submit(4.0, 3, run_at=BASE + 60)  # cancelled in the queue
    scene.cancel(5.0, 3, "cancelled")
    scene.submit(4.0, 4)  # cancelled as it ran
    scene.assign(4.1, 4, 2)
    scene.change(4.3, 4, "running")
    scene.cancel(5.1, 4, "cancelling")
    scene.end(5.3, 4, "cancelled", "cancelled", "cancelled")
    scene.submit(9.0, 5)  # w1 dies under it
    scene.assign(9.1, 5, 1)
    scene.change(9.3, 5, "running")
    scene.note(10.0, "nemesis", "fault_on", id="f1", kind="visible_death", target="w1", kills=[7, 17])
    scene.note(10.1, "nemesis", "fault_took", id="f1", how="the processes are gone")
    scene.note(10.1, "sampler", "gone", pid=17)
    scene.session(11.1, 1, "live", "dead")
    scene.lose(11.2, 5)
    scene.assign(11.4, 5, 2)
    scene.end(13.0, 5, "return", "succeeded", "succeeded")
    scene.session(12.2, 2, "live", "live", epoch=2)  # the other coordinator takes it over
    scene.note(12.5, "nemesis", "fault_off", id="f1")
    scene.submit(14.0, 6)
    scene.submit(14.3, 6, key="k6")  # the same key again
    scene.assign(14.5, 6, 2, "c2")
    scene.end(15.0, 6, "return", "succeeded", "succeeded")
    scene.note(
        15.2,
        "w2",
        "verdict",
        task=6,
        attempt=1,
        key=scene.tasks[6]["lease_key"],
        kind="succeeded",
        verdict="accepted_before",
    )
    for task in (1, 2, 5, 6):
        scene.note(20.0, "client", "read", task=task, state="succeeded", result_hash=digest("1"))
    scene.note(21.0, "client", "answer", status=404, body_bytes=100, text='{"code": "task_unknown"}')
    if more is not None:
        more(scene)
    _leave(scene)
    return _finished(scene)


def _leave(scene: Scene) -> None:
    scene.note(30.0, "w2", "drain", step="begin")
    scene.session(30.1, 2, "live", "draining", epoch=2)
    scene.session(30.3, 2, "draining", "closed", epoch=2)
    scene.note(30.9, "sampler", "gone", pid=18)
    for file, at in (("w2", 31.0), ("c1", 32.0), ("c2", 32.0), ("front", 33.0)):
        scene.note(at, file, "exit", code=0)
    for second in range(40):
        scene.note(second, "sampler", "clock", database=BASE + second)
        scene.note(second + 0.1, "sampler", "health", node="front", live=True, ready=True)
        scene.note(
            second + 0.2,
            "sampler",
            "sample",
            node="front",
            pid=4,
            rss=50_000_000,
            fds=20,
            threads=3,
            children=0,
            zombies=0,
            cpu=0.1 * second,
        )
        scene.note(second + 0.3, "sampler", "database", connections=5, oldest_transaction=0.0)


def _finished(scene: Scene) -> History:
    pids = PIDS | {"h1": HANDLERS["w1"], "h2": HANDLERS["w2"]}
    files: dict[str, list[dict[str, Any]]] = {}
    for at, file, event in sorted(scene.noted, key=lambda one: one[0]):
        proc = "handlers" if file in ("h1", "h2") else file
        lines = files.setdefault(f"{proc}.{pids[file]}.1", [])
        lines.append({"t": round(at * SECOND), "proc": proc, "pid": pids[file], "life": 1, "seq": len(lines)} | event)
    for name, lines in files.items():
        if not name.startswith(("handlers", "w1")):
            lines.append(lines[-1] | {"t": 50 * SECOND, "seq": len(lines), "event": "end"})
    audit = sorted(scene.audited, key=lambda row: float(row["at"]))
    for number, row in enumerate(audit, 1):
        row |= {"id": number, "txid": number}
    expect = {
        "overlap": "0",
        "faults": 1,
        "final_within": 10.0,
        "unfinished": [],
        "lossy": False,
        "lateness": False,
        "may_5xx": [503],
    }
    return History(
        run={
            "scenario": "P01",
            "shape": "once",
            "seed": 1,
            "started_t": 2 * SECOND,
            "healed_t": 13 * SECOND,
            "ended_t": 40 * SECOND,
            "terms": dict(TERMS),
            "planned_ops": 6,
            "slots": {"w1": 2, "w2": 2},
            "expect": expect,
            "clean_stops": [{"proc": "w2", "limit": 60.0, "code": 0}],
            "canaries": ["hunter2"],
            "limits": {"connections": 10},
        },
        files=files,
        audit=audit,
        tasks=list(scene.tasks.values()),
        attempts=scene.attempts,
        workers=[
            {"session_id": 1, "name": "w1", "slots": 2, "state": "dead", "connected_at": BASE + 1},
            {"session_id": 2, "name": "w2", "slots": 2, "state": "closed", "connected_at": BASE + 1},
        ],
        logs={"w2": ["2026-01-01 10:00:00,000 INFO started"]},
    )


Mutation = Callable[[History], object]


def line(history: History, event: str, **fields: Any) -> dict[str, Any]:
    """The first such event."""
    return next(
        one
        for lines in history.files.values()
        for one in lines
        if one["event"] == event and all(one.get(name) == value for name, value in fields.items())
    )


def change(history: History, task: int, new: str, place: int = 0) -> dict[str, Any]:
    """The audited change of a task to this state."""
    return [row for row in history.audit if row["table"] == "tasks" and row["key"] == task and row["new_state"] == new][
        place
    ]


def task(history: History, number: int) -> dict[str, Any]:
    return next(row for row in history.tasks if row["id"] == number)


def add(history: History, file: str, at: float, event: str, **fields: Any) -> None:
    """An event in its place; numbers are given anew."""
    lines = history.files[file]
    lines.append(lines[0] | {"t": round(at * SECOND), "event": event} | fields)
    lines.sort(key=lambda one: int(one["t"]))
    for place, one in enumerate(lines):
        one["seq"] = place


def drop(history: History, *lines: dict[str, Any]) -> None:
    for mine in history.files.values():
        mine[:] = [one for one in mine if not any(one is each for each in lines)]
        for place, one in enumerate(mine):
            one["seq"] = place


def audit(history: History, like: dict[str, Any], seconds: float, **fields: Any) -> None:
    """One more audited change, so long after another."""
    at = like["at"] + seconds
    row = like | {"at": at, "txid": 10_000 + len(history.audit)} | fields
    place = sum(one["at"] <= at for one in history.audit)
    history.audit.insert(place, row)


def move(history: History, one: dict[str, Any], at: float) -> None:
    """The event takes place then."""
    one["t"] = round(at * SECOND)
    for lines in history.files.values():
        lines.sort(key=lambda each: int(each["t"]))
        for place, each in enumerate(lines):
            each["seq"] = place
