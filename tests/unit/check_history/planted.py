"""Changes to a correct history, each small: those that break an invariant, those that do not, those that hide it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.check_history.history import SECOND, History
from tests.unit.check_history.scene import Mutation, add, audit, change, drop, line, move, task

VIOLATIONS: list[tuple[str, Mutation]] = []
NEAR_MISSES: list[Mutation] = []
INCONCLUSIVE: list[Mutation] = []


def breaks(about: str, name: str, plant: Mutation) -> None:
    plant.__name__ = name
    VIOLATIONS.append((about, plant))


def _into(target: list[Mutation]) -> Callable[[str, Mutation], None]:
    def enter(name: str, plant: Mutation) -> None:
        plant.__name__ = name
        target.append(plant)

    return enter


def every(done: Iterable[object]) -> None:
    for _ in done:
        pass


def both(*plants: Mutation) -> Mutation:
    def plant(history: History) -> None:
        for one in plants:
            one(history)

    return plant


passes, hides = _into(NEAR_MISSES), _into(INCONCLUSIVE)


def lost_row(history: History) -> None:
    history.tasks[:] = [row for row in history.tasks if row["id"] != 3]


def fresh(history: History, number: int, **fields: object) -> None:
    history.tasks.append(task(history, 1) | {"id": number} | fields)


def unfinished(history: History) -> None:
    history.audit.remove(change(history, 6, "succeeded"))
    task(history, 6)["state"] = "assigned"
    drop(history, *(one for one in history.of("verdict", "read") if one["task"] == 6))


breaks("V1", "an acknowledged task has no row", lost_row)
breaks("V1", "a task never becomes final", unfinished)
breaks("V1", "a row that nobody asked for", lambda h: fresh(h, 99))
breaks("V1", "a retry that nobody asked for", lambda h: fresh(h, 99, retry_of=1))
breaks("V1", "a retry of another task", lambda h: add(h, "client.1.1", 25, "retry_ok", op=90, task=6, of=1))


def twice(history: History) -> None:
    audit(history, change(history, 1, "succeeded"), 1, old_state="succeeded", old_attempt=1)


breaks("V2", "a final state is entered twice", twice)
breaks(
    "V2",
    "something follows a final state",
    lambda h: audit(h, change(h, 3, "cancelled"), 1, old_state="cancelled", new_state="queued", old_attempt=0),
)
breaks("V2", "the row says another final state", lambda h: task(h, 4).update(state="failed"))

breaks("V3", "a read shows another state", lambda h: line(h, "read", task=5).update(state="failed"))
breaks("V3", "a read shows another result", lambda h: line(h, "read", task=5).update(result_hash="0" * 16))
breaks("V3", "the table holds another result", lambda h: task(h, 5).update(result="2"))
breaks("V3", "a failure was accepted as success", lambda h: line(h, "verdict", task=1).update(kind="failed"))
breaks(
    "V3",
    "two outcomes of one attempt were accepted",
    lambda h: line(h, "verdict", verdict="accepted_before").update(verdict="accepted"),
)
breaks("V3", "a success without a handler that returned", lambda h: line(h, "exec_end", task=6).update(how="raise"))


def accepted_for_nothing(h: History) -> None:
    unfinished(h)
    h.run["expect"]["unfinished"] = [6]
    what = {"task": 6, "attempt": 1, "key": task(h, 6)["lease_key"], "kind": "succeeded"}
    add(h, "w2.8.1", 16, "verdict", **what, verdict="accepted_before")


breaks("V3", "accepted, and nothing in the database", accepted_for_nothing)

breaks("V4", "accepted under another lease", lambda h: line(h, "verdict", task=1).update(key="f" * 32))
breaks("V4", "accepted for an attempt that never was", lambda h: line(h, "verdict", task=1).update(attempt=7))
breaks(
    "V4",
    "refused before anything superseded it",
    lambda h: add(
        h, "w2.8.1", 14.2, "verdict", task=6, attempt=1, key=task(h, 6)["lease_key"], kind="succeeded", verdict="fenced"
    ),
)
breaks("V4", "a change quotes another lease", lambda h: change(h, 4, "running").update(lease_key="f" * 32))
breaks("V4", "a final change quotes another lease", lambda h: change(h, 5, "succeeded").update(lease_key="f" * 32))


def one_key_twice(history: History) -> None:
    second = change(history, 2, "assigned", 1)
    second["lease_key"] = change(history, 2, "assigned")["lease_key"]
    change(history, 2, "succeeded")["lease_key"] = second["lease_key"]
    line(history, "exec_start", task=2, attempt=2)["lease_key"] = second["lease_key"]
    line(history, "verdict", task=2, attempt=2)["key"] = second["lease_key"]


breaks("V5", "one lease for two attempts", one_key_twice)
breaks("V5", "a handler quotes another lease", lambda h: line(h, "exec_start", task=1).update(lease_key="f" * 32))
breaks("V5", "a handler runs at another worker", lambda h: line(h, "exec_start", task=1).update(worker="w2"))
breaks(
    "V5",
    "an attempt that was never assigned runs",
    lambda h: add(h, "handlers.18.1", 8, "exec_start", task=1, attempt=2, lease_key="", worker="w2", slots=2),
)


def started_twice(history: History) -> None:
    again = line(history, "exec_start", task=1)
    add(
        history,
        "handlers.17.1",
        8,
        "exec_start",
        **{name: again[name] for name in ("task", "attempt", "lease_key", "worker")},
    )
    add(history, "handlers.17.1", 8.1, "exec_end", task=1, attempt=1, how="return")


breaks("V5", "an attempt is started twice", started_twice)


def attempt_skipped(history: History) -> None:
    for row in history.changes[6]:
        row["attempt"] += row["new_state"] != "queued"
    change(history, 6, "succeeded")["old_attempt"] = 2
    for one in (*history.of("exec_start", "exec_end", "verdict"),):
        if one["task"] == 6:
            one["attempt"] = 2


breaks("V5", "an attempt's number is skipped", attempt_skipped)


def crowded(history: History) -> None:
    history.workers[1]["slots"] = 1
    move(history, line(history, "exec_end", task=5), 14.9)


breaks("V6", "two handlers in one slot", crowded)
breaks("V6", "a session without slots", lambda h: h.workers[0].update(slots=-1))

breaks("V8", "back in the queue after a cancel", lambda h: change(h, 2, "queued", 1).update(cancel=True))
breaks("V8", "back in the queue after its worker was lost", lambda h: change(h, 5, "queued", 1).update(cancel=True))
breaks("V8", "answered as cancelled, and ran", lambda h: line(h, "cancel_ok", task=3).update(task=6))


def cancelled_late(h: History) -> None:
    h.run["expect"]["final_within"] = 100
    h.run["healed_t"] = 2 * SECOND
    h.changes[4][-1]["at"] = 1025.0


breaks("V8", "cancelling takes too long", cancelled_late)


def passed_over(h: History) -> None:
    change(h, 3, "queued").update(run_at=1001.0, at=1001.5)
    change(h, 4, "queued").update(run_at=1003.9)
    h.audit.sort(key=lambda row: float(row["at"]))


breaks("V9", "what was due first is passed over", passed_over)


def freed_late(history: History) -> None:
    for row in history.audit:
        if row["at"] > 1010 and (row["key"] == 5 or row["new_state"] == "dead"):
            row["at"] += 5
    for name in ("handlers.18.1", "w2.8.1", "c1.5.1"):
        for one in history.files[name]:
            if 11 * SECOND < one["t"] < 14 * SECOND:
                one["t"] += 5 * SECOND
        history.files[name].sort(key=lambda one: int(one["t"]))
        for place, one in enumerate(history.files[name]):
            one["seq"] = place
    history.audit.sort(key=lambda row: float(row["at"]))


breaks("V10", "what a dead worker held is freed late", freed_late)


def silent(h: History) -> None:
    line(h, "fault_on")["kind"] = "silent"
    line(h, "fault_off")["t"] = 39 * SECOND


breaks("V10", "what a silent worker held is freed late", both(freed_late, silent))

breaks("V11", "a polite end with another code", lambda h: line(h, "exit", proc="w2").update(code=1))
breaks("V11", "the bench saw another code", lambda h: h.run["clean_stops"][0].update(code=120))
breaks("V11", "a stop takes too long", lambda h: h.run["clean_stops"][0].update(limit=0.5))
breaks("V11", "a stop that left no exit", lambda h: drop(h, line(h, "exit", proc="w2")))
breaks("V11", "asked to stop twice, left once", lambda h: h.run["clean_stops"].append({"proc": "w2", "limit": 60.0}))


def runs_on(history: History) -> None:
    move(history, line(history, "exec_end", task=6), 45)
    move(history, line(history, "gone", pid=18), 46)


breaks("V11", "a handler runs on after the exit", runs_on)


def overlaps(seconds: float) -> Mutation:
    def plant(history: History) -> None:
        """The first attempt of task 5 goes on beside the second."""
        line(history, "fault_on")["kills"] = [7]
        line(history, "gone", pid=17)["t"] = round((11.42 + 0.25 + seconds) * SECOND)
        history.files["sampler.3.1"].sort(key=lambda one: int(one["t"]))
        for place, one in enumerate(history.files["sampler.3.1"]):
            one["seq"] = place

    return plant


def expecting(overlap: str, plant: Mutation) -> Mutation:
    return both(lambda history: history.run["expect"].update(overlap=overlap), plant)


breaks("V12", "two attempts at once", overlaps(0.3))
breaks("V12", "two attempts at once for longer than a cut excuses", expecting("cut", overlaps(0.6)))
breaks("V12", "two attempts at once for longer than a pause excuses", expecting("pause:0", overlaps(1.3)))
passes("two attempts at once as long as a cut excuses", expecting("cut", overlaps(0.3)))
passes("two attempts at once as long as a pause excuses", expecting("pause:0.5", overlaps(1.3)))
passes("two attempts at once where any overlap is excused", expecting("any", overlaps(1.3)))

breaks("V13", "one key for two tasks", lambda h: h.of("submit_ok")[-1].update(task=5))
breaks("V13", "one key with two bodies", lambda h: h.of("submit_invoke")[-1].update(body_hash="c"))
breaks("V13", "one task for two keys", lambda h: h.of("submit_invoke")[-1].update(key="other"))

breaks("V14", "a try is not counted", lambda h: task(h, 2).update(tries=0))
breaks("V14", "a crash is counted that was none", lambda h: task(h, 1).update(crashes=1))
breaks("V14", "an attempt is missing", lambda h: h.attempts.clear())
breaks("V14", "more tries than allowed", lambda h: task(h, 2).update(max_tries=0))
breaks("V14", "a success is counted against a task", lambda h: change(h, 1, "succeeded").update(tries=1))
breaks(
    "V14",
    "two things are counted for one attempt",
    lambda h: every(row.update(undelivered=1) for row in h.changes[5][3:]),
)
breaks("V14", "counted though no attempt ended", lambda h: every(row.update(tries=1) for row in h.changes[5][2:]))
breaks(
    "V14",
    "poison goes back into the queue",
    lambda h: every(row.update(crashes=row["crashes"] + 2) for row in h.changes[5]),
)
breaks(
    "V14",
    "a second crash is due at once",
    lambda h: every(row.update(crashes=row["crashes"] + 1) for row in h.changes[5]),
)
breaks("V15", "all is done too late", lambda h: h.run["expect"].update(final_within=0.5))

breaks("V16", "a zombie lies about", lambda h: every(one.update(zombies=1) for one in h.of("sample")[5:9]))
breaks("V16", "memory grows", lambda h: every(one.update(rss=90_000_000) for one in h.of("sample")[14:]))
breaks("V16", "descriptors leak", lambda h: every(one.update(fds=60) for one in h.of("sample")[14:]))
breaks("V16", "threads leak", lambda h: every(one.update(threads=30) for one in h.of("sample")[14:]))
breaks("V16", "more connections than the pools hold", lambda h: h.of("database")[7].update(connections=11))
breaks("V15", "a process spins", lambda h: every(one.update(cpu=1.0 * n) for n, one in enumerate(h.of("sample"))))

breaks("V17", "not alive, and it was", lambda h: h.of("health")[4].update(live=False))
breaks(
    "V17", "not ready after all was healed", lambda h: every(one.update(ready=False) for one in h.of("health")[20:25])
)


def without_database(history: History) -> None:
    add(history, "nemesis.2.1", 22, "fault_on", id="f2", kind="database", target="postgres", kills=[])
    add(history, "nemesis.2.1", 35, "fault_off", id="f2")
    drop(history, *(one for one in history.of("clock") if 22 * SECOND < one["t"] < 35 * SECOND))
    history.__dict__.pop("events", None)
    history.run["healed_t"] = 36 * SECOND


breaks("V17", "ready without a database", without_database)

breaks("V18", "an answer with status 500", lambda h: line(h, "answer").update(status=500))
breaks("V18", "a refusal that is too long", lambda h: line(h, "answer").update(body_bytes=3000))
breaks("V18", "a traceback in an answer", lambda h: line(h, "answer").update(text="Traceback (most recent call last):"))
breaks("V18", "a statement in an answer", lambda h: line(h, "answer").update(text="SELECT 1 FROM callboard_tasks"))
breaks("V18", "a secret in an answer", lambda h: line(h, "answer").update(text="hunter2"))
breaks("V18", "a secret in a log", lambda h: h.logs["w2"].append("2026-01-01 10:00:01 INFO hunter2"))
breaks("V18", "a log line of two lines", lambda h: h.logs["w2"].append("  more of it"))


def backwards(h: History) -> None:
    change(h, 4, "running", 1)["new_state"] = "assigned"
    change(h, 4, "cancelled")["old_state"] = "assigned"


breaks("V20", "an illegal step", backwards)

breaks("V20", "a step from another state", lambda h: change(h, 1, "succeeded").update(old_state="running"))
breaks("V20", "an attempt that rises by itself", lambda h: change(h, 3, "cancelled").update(attempt=1))
breaks("V20", "the API finishes a task", lambda h: change(h, 1, "succeeded").update(actor="callboard api"))
breaks(
    "V20",
    "a dead session comes back",
    lambda h: h.audit.append(h.audit[0] | {"at": 1039.0, "txid": 999, "old_state": "dead"}),
)
breaks("V20", "an epoch falls", lambda h: next(row for row in h.audit if row.get("epoch") == 2).update(epoch=0))
breaks("V20", "an epoch is skipped", lambda h: every(row.update(epoch=5) for row in h.audit if row.get("epoch") == 2))


def unknown_session(h: History) -> None:
    h.audit[:] = [row for row in h.audit if row["table"] != "workers" or row["key"] != 1]


breaks("V20", "work for a session that is unknown", unknown_session)


def without_answer(h: History) -> None:
    add(h, "client.1.1", 25, "submit_invoke", op=91, key="x", body_hash="b", name="nap")
    fresh(h, 99)


passes("an unknown submission that exists", without_answer)
passes("an answer with status 503", lambda h: line(h, "answer").update(status=503))
passes("the answer to a result was lost", lambda h: drop(h, line(h, "verdict", task=1)))
passes(
    "an outcome that came too late is refused",
    lambda h: add(
        h,
        "w2.8.1",
        16,
        "verdict",
        task=5,
        attempt=1,
        key=change(h, 5, "assigned")["lease_key"],
        kind="succeeded",
        verdict="fenced",
    ),
)
passes("unready for a moment", lambda h: h.of("health")[22].update(ready=False))
passes(
    "nothing is done after retention took it",
    lambda h: audit(h, change(h, 3, "cancelled"), 20, old_state="cancelled", new_state=None, old_attempt=0),
)

hides("a line is missing", lambda h: h.files["client.1.1"].pop(3))
hides("a file has no end", lambda h: h.files["client.1.1"].pop())
hides("a worker has no end and nobody killed it", lambda h: line(h, "fault_on").update(kills=[17]))
hides("a handler's process has no end", lambda h: drop(h, line(h, "gone", pid=18)))
hides("the fault did not take effect", lambda h: drop(h, line(h, "fault_took")))
hides("fewer operations than planned", lambda h: h.run.update(planned_ops=7))
hides("no client", lambda h: h.files.pop("client.1.1"))
hides("no handler", lambda h: [h.files.pop(name) for name in ("handlers.17.1", "handlers.18.1")])
hides("no worker", lambda h: h.files.pop("w1.7.1"))
hides("no audit", lambda h: h.audit.clear())
hides("no session", lambda h: h.workers.clear())
hides("no clock", lambda h: drop(h, *h.of("clock")))
hides("no claim", lambda h: drop(h, *h.of("claim")))
hides("no terms", lambda h: h.run.pop("terms"))
hides("no expectation of overlap", lambda h: h.run["expect"].pop("overlap"))
hides("time goes back", lambda h: h.files["client.1.1"][4].update(t=0))
hides("a row without its state", lambda h: h.tasks[0].pop("state"))
hides("too few starts to speak of lateness", lambda h: h.run["expect"].update(lateness=True))
