"""When two attempts of one task may run at once.

A worker stops its work before its lease can end, so a session that was convicted because its lease ran out has nothing
that runs. What was taken from a worker earlier, because its socket closed or it acknowledged nothing, may run on until
its own deadline. What stands still with its whole machine goes on for a moment when it wakes up. While a
coordinator's database does not answer, FROZEN vouches for what is not exclusive. A database clock that steps forward
ends every lease that nobody has renewed since: workers hear of it at their next heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.audit import Change
from tests.simulation.facts import Facts
from tests.simulation.history import Execution

WAKING = 1.0  # seconds from the thaw of a machine until nothing of it runs that must not
INSTANT = 0.05  # seconds: the way of a kill, and of a lease's last moment

UNNOTICED = 2.0  # seconds: a smaller step of the database's clock looks like slowness


def outliving(facts: Facts) -> Iterator[str]:
    """Nothing runs on after its session has ended, whether or not it was started elsewhere by then."""
    for runs in facts.runs.values():
        for run in runs:
            taken = facts.end_of(run.task, run.attempt, run.key)
            if taken is None or run.ended <= taken.at:
                continue
            until, why = allowed_until(facts, run, taken)
            if run.ended > until + INSTANT:
                yield (
                    f"task {run.task}: attempt {run.attempt} on {run.life} was taken at {taken.at:.3f} ({why}), may "
                    f"run until {until:.3f} and ended at {run.ended:.3f}"
                )


def overlaps(facts: Facts) -> Iterator[str]:
    for task, runs in facts.runs.items():
        if len(runs) < 2:
            continue
        runs = sorted(runs, key=lambda run: run.began)
        for index, older in enumerate(runs):
            for newer in runs[index + 1 :]:
                together = min(older.ended, newer.ended) - newer.began
                if together > INSTANT:
                    yield from _judge(facts, task, older, newer, together)


def _judge(facts: Facts, task: int, older: Execution, newer: Execution, together: float) -> Iterator[str]:
    taken = facts.end_of(older.task, older.attempt, older.key)
    what = (
        f"task {task}: attempts {older.attempt} on {older.life} and {newer.attempt} on {newer.life} ran together for "
        f"{together:.3f} s from {newer.began:.3f}"
    )
    if taken is None:
        yield f"{what}: nobody had taken the older one"
        return
    _, why = allowed_until(facts, older, taken)
    if not facts.expect.overlap or older.exclusive:
        excused = asleep_until(facts, older, taken.at)
        if stepped := clock_stepped(facts, taken.at):
            excused = max(excused, stepped + 2 * facts.terms.heartbeat + facts.terms.margin, taken.at + UNNOTICED)
        if older.ended > excused + INSTANT:
            yield f"{what}, and must not at all (taken at {taken.at:.3f} by {taken.cause}: {why})"


def allowed_until(facts: Facts, run: Execution, taken: Change) -> tuple[float, str]:
    """Until when it may run, and why."""
    terms = facts.terms
    usable = terms.lease - terms.margin
    kill = terms.margin * 2 / 3  # from the deadline until the executor is gone
    held_by = taken.old.session if taken.old is not None else None
    session = next((one for one in facts.sessions if one.session == held_by and one.new == "dead"), None)
    until, why = taken.at, "it had reported its end"
    if taken.cause == "sweep" and session is not None and session.at <= taken.at:
        if session.cause == "convict":
            until, why = session.at - terms.grace + usable + kill, "its socket had closed"
        else:
            until, why = session.at, "its lease had run out"
            if vouched := facts.history.vouched.get(run.life):
                until = max(until, *(at + usable + kill for at in vouched if at <= run.ended))
                why += ", and FROZEN vouched for it"
            if stepped := clock_stepped(facts, session.at):
                until, why = max(until, stepped + usable + kill), "the clock had stepped"
    elif taken.cause == "sweep":
        until, why = taken.at + usable + kill, "it had not acknowledged, or its time was over"
    return max(until, asleep_until(facts, run, taken.at)), why


def asleep_until(facts: Facts, run: Execution, taken_at: float) -> float:
    """When its machine had woken up, if it stood still at the end of its lease."""
    since = taken_at - facts.terms.lease
    sleeps = [one for one in facts.history.faults if one.kind == "freeze all" and one.target == run.worker]
    ends = [sleep.until for sleep in sleeps if sleep.since <= run.ended and sleep.until >= since]
    return max((until + WAKING for until in ends), default=taken_at)


def clock_stepped(facts: Facts, at: float) -> float | None:
    """When the database's clock was last set, if that was shortly before this.

    A step of less than two seconds is noticed by nobody, and shortens every lease by as much.
    """
    steps = [one for fault in facts.history.faults if fault.kind == "clock step" for one in (fault.since, fault.until)]
    return max((one for one in steps if one <= at and at - one < facts.terms.lease), default=None)
