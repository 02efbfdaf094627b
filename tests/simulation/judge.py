"""The invariants, judged from what clients were told, what handlers did, and what the store's tables went through."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from actors.model.columns import Outcome
from tests.simulation.audit import FINAL, HELD
from tests.simulation.facts import Facts, is_claim
from tests.simulation.history import Execution, Submission
from tests.simulation.overlap import outliving, overlaps

ACCEPTED, ACCEPTED_BEFORE, FENCED = 0, 1, 2
UNHURRIED = 3.0  # seconds for statements, sweeps and what had to be repeated
HAPPENED = 1e-6  # seconds: times of one instant are equal in spite of rounding
MOVES = {
    "queued": {"queued", "assigned", "cancelled", "expired"},
    "assigned": {"assigned", "running", "queued", *FINAL},
    "running": {"running", "queued", *FINAL},
}
# How an execution must have ended for what the table says of its attempt.
ENDED_AS = {
    "failed": {"raise"},
    "snoozed": {"snooze"},
    "timed_out": {"cancelled", "killed", "unfinished"},
    "crashed": {"killed"},
}


def judge(facts: Facts) -> list[str]:
    """Every violation, in words; empty when all invariants hold."""
    checks = (
        crashes_of_actors, submissions, finality, legal_moves, attempts, executions, results, verdicts, cancels,
        counters, ends, capacity, solitude, graces, failover, stops, liveness, leaks, outliving, overlaps, promises,
    )  # fmt: skip
    return [f"{check.__name__}: {found}" for check in checks for found in check(facts)]


def crashes_of_actors(facts: Facts) -> Iterator[str]:
    yield from facts.history.crashes


def leaks(facts: Facts) -> Iterator[str]:
    yield from facts.leaks


# --- clients --------------------------------------------------------------------------------------


def submissions(facts: Facts) -> Iterator[str]:
    """Nothing acknowledged is lost; nothing is there that nobody asked for; one key is one task."""
    rows: dict[object, list[int]] = defaultdict(list)
    for row in facts.rows.values():
        rows[row.args["n"]].append(row.id)
    asked = set()
    for submission in facts.history.submissions:
        asked.add(submission.number)
        stored = rows.get(submission.number, [])
        yield from _submission(submission, stored)
    for number, ids in rows.items():
        if number not in asked:
            yield f"tasks {ids} were asked for by nobody"


def _submission(submission: Submission, stored: list[int]) -> Iterator[str]:
    answers = set(submission.ids)
    what = f"submission {submission.number} ({submission.kind}, key {submission.key})"
    if lost := answers - set(stored):
        yield f"{what}: acknowledged as {sorted(lost)}, which is not in the table"
    if submission.key is not None and len(answers) > 1:
        yield f"{what}: one key was answered with {sorted(answers)}"
    most = 1 if submission.key is not None else len(answers) + submission.unknown
    if len(stored) > most:
        yield f"{what}: stored {len(stored)} times, may be {most}"


def cancels(facts: Facts) -> Iterator[str]:
    """After "cancelled" nothing starts; after any wish nothing goes back to the queue.

    But what was taken back before from a worker that is out of reach may start there while that one's lease lasts.
    """
    for cancel in facts.history.cancels:
        if cancel.answer == "cancelled":
            for run in facts.runs[cancel.task]:
                if run.began > cancel.answered_at + HAPPENED and not _out_of_reach(facts, run, cancel.answered_at):
                    yield f"task {cancel.task} started at {run.began:.3f}, cancelled at {cancel.answered_at:.3f}"
            if facts.rows[cancel.task].look.state != "cancelled":
                yield f"task {cancel.task} was cancelled, and ended as {facts.rows[cancel.task].look.state}"
        elif cancel.answer == "cancelling" and not facts.rows[cancel.task].look.wish:
            yield f"task {cancel.task}: the wish to cancel it is lost"
    for change in facts.changes:
        if change.old is not None and change.old.wish and change.old.state in HELD and change.new.state == "queued":
            yield f"task {change.task} went back to the queue at {change.at:.3f} though it was to be cancelled"


def _out_of_reach(facts: Facts, run: Execution, at: float) -> bool:
    """Whether its attempt had been taken back by then, and the lease of its worker may have lasted when it began."""
    lasts = facts.terms.lease - facts.terms.margin
    return any(
        change.at <= at and run.began <= change.at + lasts
        for change in facts.by_task[run.task]
        if change.old is not None and change.old.state in HELD and change.new.state == "queued"
        and change.old.attempt == run.attempt
    )  # fmt: skip


# --- the tables -----------------------------------------------------------------------------------


def finality(facts: Facts) -> Iterator[str]:
    for task, changes in facts.by_task.items():
        finals = [change for change in changes if change.new.state in FINAL]
        if finals and finals[0] is not changes[-1]:
            yield f"task {task} changed after it was {finals[0].new.state} at {finals[0].at:.3f}"


def legal_moves(facts: Facts) -> Iterator[str]:
    for change in facts.changes:
        old, new = change.old, change.new
        if old is None:
            if new.state != "queued":
                yield f"task {change.task} began as {new.state}"
            continue
        move = f"{old.state}/{old.attempt} to {new.state}/{new.attempt}"
        what = f"task {change.task} at {change.at:.3f} ({change.cause}): {move}"
        if old.state in FINAL or new.state not in MOVES[old.state]:
            yield what
        elif old.state in HELD and new.state in HELD and (old.key, old.session) != (new.key, new.session):
            yield f"{what}: its lease changed hands"
        if (new.state in HELD) != (new.session is not None) and new.state not in FINAL:
            yield f"{what}: session {new.session}"


def attempts(facts: Facts) -> Iterator[str]:
    """Attempts are 1, 2, 3 …; an attempt is one (task, key)."""
    for task, changes in facts.by_task.items():
        number, keys = 0, set()
        for change in changes:
            claimed = is_claim(change)
            number += claimed
            if change.new.attempt != number:
                yield f"task {task} has attempt {change.new.attempt} at {change.at:.3f}, expected {number}"
                number = change.new.attempt
            if claimed:
                if change.new.key in keys:
                    yield f"task {task} was claimed twice with one key"
                keys.add(change.new.key)


def executions(facts: Facts) -> Iterator[str]:
    """What runs was assigned before, and each assignment runs once."""
    for task, runs in facts.runs.items():
        seen = Counter((run.attempt, run.key) for run in runs)
        for run in runs:
            claim = facts.claims.get((task, run.attempt))
            if claim is None or claim.new.key != run.key or claim.at > run.began:
                yield f"task {task} attempt {run.attempt} ran on {run.life} without having been assigned"
        for (attempt, _), count in seen.items():
            if count > 1:
                yield f"task {task} attempt {attempt} was started {count} times"


def results(facts: Facts) -> Iterator[str]:
    """The recorded result is that of the recorded attempt, which returned before it was recorded."""
    for row in facts.rows.values():
        look = row.look
        if look.state != "succeeded":
            continue
        if row.result != {"attempt": look.attempt}:
            yield f"task {row.id} ended with attempt {look.attempt} and has the result {row.result}"
        recorded = facts.by_task[row.id][-1].at
        if not any(
            (run.attempt, run.key, run.how) == (look.attempt, look.key, "return") and run.ended <= recorded
            for run in facts.runs[row.id]
        ):
            yield f"task {row.id} succeeded, but attempt {look.attempt} did not return before"


def verdicts(facts: Facts) -> Iterator[str]:
    """What workers were told is what the tables went through."""
    final = {Outcome.SUCCEEDED: {"succeeded"}, Outcome.FAILED_FINAL: {"failed"}}
    by_kind = {
        Outcome.FAILED: {"failed", "queued", "cancelled"}, Outcome.TIMED_OUT: {"failed", "queued", "cancelled"},
        Outcome.CANCELLED: {"cancelled", "queued"}, Outcome.CRASHED: {"queued", "failed", "quarantined", "cancelled"},
        Outcome.RELEASED: {"queued", "cancelled"}, Outcome.SNOOZED: {"queued", "cancelled"},
        Outcome.REFUSED: {"queued", "cancelled"}, **final,
    }  # fmt: skip
    for verdict in facts.history.verdicts:
        change = facts.end_of(verdict.task, verdict.attempt, verdict.key)
        what = f"task {verdict.task} attempt {verdict.attempt} on {verdict.worker} at {verdict.at:.3f}"
        if verdict.verdict == FENCED:
            if change is None or change.at > verdict.at:
                yield f"{what} was fenced though nobody had taken it"
        elif change is None or change.at > verdict.at or change.cause != "complete":
            yield f"{what} was accepted ({Outcome(verdict.kind).name}), and the table does not know"
        elif change.new.state not in by_kind[Outcome(verdict.kind)]:
            yield f"{what} was accepted as {Outcome(verdict.kind).name}, and the task went to {change.new.state}"


def counters(facts: Facts) -> Iterator[str]:
    """Tries, crashes, undelivered and snoozes are the attempts that ended so."""
    kept: dict[int, Counter[str]] = defaultdict(Counter)
    for ended in facts.ended:
        if ended.accepted:
            kept[ended.task][ended.outcome] += 1
    for row in facts.rows.values():
        found, look = kept[row.id], row.look
        expected = {
            "tries": (look.tries, found["failed"] + found["timed_out"]),
            "crashes": (look.crashes, found["crashed"] + found["lost"]),
            "undelivered": (look.undelivered, found["undelivered"] + found["refused"]),
            "snoozes": (look.snoozes, found["snoozed"]),
        }
        for name, (count, attempts_so) in expected.items():
            if count != attempts_so:
                yield f"task {row.id} says {name}={count}, but {attempts_so} attempts ended so"
        if look.state == "quarantined" and look.crashes < 3:
            yield f"task {row.id} was quarantined after {look.crashes} crashes"
        if look.crashes >= 3 and look.state not in ("quarantined", "cancelled", "failed"):
            yield f"task {row.id} has crashed {look.crashes} times, and is {look.state}"
        ends = sum(found.values()) + (look.state == "succeeded")
        if look.state in FINAL and ends not in (look.attempt, look.attempt - (look.state == "cancelled")):
            yield f"task {row.id} had {look.attempt} attempts, of which {ends} are known to have ended"


def ends(facts: Facts) -> Iterator[str]:
    """An attempt ended in the table as it did in its executor; what was refused never ran."""
    runs: dict[tuple[int, int, bytes | None], Execution] = {}
    runs.update(((run.task, run.attempt, run.key), run) for run in facts.history.executions)
    dead = {change.session for change in facts.sessions if change.new == "dead"}
    for ended in facts.ended:
        if not ended.accepted:
            continue
        run = runs.get((ended.task, ended.attempt, ended.key))
        how = ENDED_AS.get(ended.outcome)
        what = f"task {ended.task} attempt {ended.attempt} ended as {ended.outcome}"
        if how is not None and (run is None or run.how not in how):
            yield f"{what}, but its execution {'never was' if run is None else 'ended with ' + run.how}"
        if ended.outcome == "refused" and run is not None:
            yield f"{what}, but it ran on {run.life}"
        if ended.outcome == "lost":
            change = facts.end_of(ended.task, ended.attempt, ended.key)
            if change is None or change.old is None or change.old.session not in dead:
                yield f"{what}, but its worker's session was never convicted"


# --- nodes ----------------------------------------------------------------------------------------


def capacity(facts: Facts) -> Iterator[str]:
    """Nobody runs more than its slots, besides what runs alone."""
    lives: dict[str, list[Execution]] = defaultdict(list)
    for run in facts.history.executions:
        if (run.task, run.attempt) not in facts.solo:
            lives[run.life].append(run)
    for life, runs in lives.items():
        steps = sorted([(run.began, 1) for run in runs] + [(run.ended, -1) for run in runs])
        level = 0
        for at, step in steps:
            level += step
            if level > runs[0].slots:
                yield f"{life} ran {level} handlers at {at:.3f}, and has {runs[0].slots} slots"
                break


def solitude(facts: Facts) -> Iterator[str]:
    """What is suspected of killing executors, or wants to be alone, has a process of its own."""
    processes: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for run in facts.history.executions:
        processes[run.process].add((run.task, run.attempt))
    for process, runs in processes.items():
        if len(runs) > 1 and not facts.solo.isdisjoint(runs):
            yield f"{process} ran {sorted(runs)}, of which some must run alone"


def graces(facts: Facts) -> Iterator[str]:
    """The grace convicts only those whose sockets closed; silence is left to the lease."""
    for change in facts.sessions:
        if change.new == "dead" and change.cause == "convict":
            host = change.worker.partition("#")[0]
            # However long ago: the grace does not count while the database is away.
            if not any(host == other and at <= change.at for other, at in facts.history.closed):
                yield f"session {change.session} of {change.worker} was convicted after a grace at {change.at:.3f}"


def failover(facts: Facts) -> Iterator[str]:
    """A dead worker is found out within its lease and the quiet period, once nothing else is wrong."""
    bound = facts.terms.lease + facts.terms.quiet_period + UNHURRIED
    for life, died in facts.history.deaths:
        for change in facts.sessions:
            if change.worker != life or change.new not in ("dead", "closed"):
                continue
            troubles = [one.until for one in facts.history.faults if one.since <= change.at and one.until >= died]
            healthy = max([died, *troubles])
            if change.at - healthy > bound:
                yield f"{life} died at {died:.3f} and was found out at {change.at:.3f}, healthy since {healthy:.3f}"


def stops(facts: Facts) -> Iterator[str]:
    for life, asked, ended, limit in facts.history.stops:
        host = life.partition("#")[0]
        stood_still = any(
            fault.kind.startswith("freeze") and fault.target == host and fault.since <= ended and fault.until >= asked
            for fault in facts.history.faults
        )
        if ended - asked > limit and not stood_still:
            yield f"{life} was asked to stop at {asked:.3f} and took {ended - asked:.1f} s, limit {limit:g} s"


def liveness(facts: Facts) -> Iterator[str]:
    if not facts.all_final:
        left = {row.id: row.look.state for row in facts.rows.values() if row.look.state not in FINAL}
        yield f"not final {facts.expect.final_within:g} s after the last fault: {left}"


def promises(facts: Facts) -> Iterator[str]:
    """What this scenario promises besides."""
    if not facts.expect.repeats:
        for ended in facts.ended:
            if ended.outcome in ("lost", "undelivered", "refused", "released") or not ended.accepted:
                yield f"task {ended.task} attempt {ended.attempt} was {ended.outcome}: nothing may be repeated here"
    if facts.expect.closes:
        stopped = {life for life, *_ in facts.history.stops}
        for change in facts.sessions:
            if change.worker in stopped and change.new == "dead":
                yield f"{change.worker} was stopped and said goodbye, and its session was convicted"
    if not facts.expect.crashes:
        for ended in facts.ended:
            if ended.outcome in ("lost", "crashed") and ended.accepted:
                yield f"task {ended.task} attempt {ended.attempt} counted as {ended.outcome}: nothing crashed here"
