"""Why a task waits, where it went, and why it is not tried again: sentences from facts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from actors.model.task import FINAL, HELD, Attempt, Task, TaskState, shown_state

NAMED = 10  # tasks or workers in one sentence
COUNTED = 1_000  # tasks before this one
AVOIDS = timedelta(seconds=10)  # that a retry is left to others than the session that failed it
PATIENT = timedelta(seconds=1)  # that a task waits for the worker it prefers


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentFact:
    id: int
    name: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFact:
    """A live session. What it lacks for this task is false."""

    id: str
    knows: bool  # the handler
    listens: bool  # to the queue
    labelled: bool
    paused: bool
    draining: bool
    slots: int
    held: int

    @property
    def serves(self) -> bool:
        return self.knows and self.listens and self.labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFact:
    """One limit that the task counts for. `used` of `most`, by these tasks (the first ones)."""

    code: str  # concurrency_limit, key_limit, rate_limit, key_rate_limit
    whose: str
    most: int
    used: int
    period: float | None = None  # seconds, of a rate
    refill: datetime | None = None
    tasks: Sequence[int] = ()

    def holds(self, weight: int) -> bool:
        if self.period is not None:
            return self.used >= self.most
        return self.used + weight > self.most and not (self.used == 0 and self.most > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseFact:
    since: datetime
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at `task.now`."""

    task: Task
    attempts: Sequence[Attempt] = ()  # the oldest first
    parents: Sequence[ParentFact] = ()  # that have not ended, the first ones
    parents_left: int = 0
    queue_pause: PauseFact | None = None
    handler_pause: PauseFact | None = None
    coordinators: int = 1
    workers: Sequence[WorkerFact] = ()
    limits: Sequence[LimitFact] = ()
    ahead: int = 0  # due tasks of its queue that come before it; COUNTED + 1: more
    failed_in: str | None = None  # the worker that failed it last
    preferred: str | None = None  # the worker that tasks of its affinity key go to
    coordinator: str | None = None  # of the session that holds it
    lease_until: datetime | None = None
    ack_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    code: str
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`reasons`: why it does not run now, what must go first comes first. Empty where nothing keeps it."""

    summary: str
    reasons: Sequence[Reason] = ()
    placement: str | None = None  # where its attempt is or was, and why there
    retry: str | None = None  # why it is not tried again, and what to do
    facts: Facts = field(repr=False)


class ExplainStore(Protocol):
    async def facts(self, task_id: int) -> Facts | None:
        """What is known of a task, at bounded cost; None: there is no such task. Raises the StorageError family."""
        ...


def explain(facts: Facts) -> Explanation:
    task = facts.task
    if task.state in FINAL:
        summary, retry = _ended(facts)
        return Explanation(summary=summary, retry=retry, placement=_placement(facts), facts=facts)
    if task.state in HELD:
        reasons = list(_held(facts))
        verb = "is assigned to" if task.state is TaskState.ASSIGNED else "runs on"
        summary = f"attempt {task.attempt} {verb} {task.worker}"
        if reasons:
            summary += f"; {reasons[0].detail}"
        return Explanation(summary=summary, reasons=reasons, placement=_placement(facts), facts=facts)
    reasons = list(_waiting(facts))
    first = reasons[0].detail if reasons else "nothing keeps it: it starts with the next claim"
    return Explanation(summary=f"{shown_state(task)}: {first}", reasons=reasons, facts=facts)


def _waiting(facts: Facts) -> Iterator[Reason]:
    """In the order in which they must go."""
    task = facts.task
    if task.state is TaskState.BLOCKED:
        yield _blocked(facts)
    if task.run_at > task.now:
        yield _not_due(facts)
    for code, what, pause in (
        ("queue_paused", f"queue {task.queue}", facts.queue_pause),
        ("handler_paused", f"handler {task.name}", facts.handler_pause),
    ):
        if pause is not None:
            why = f": {pause.reason}" if pause.reason else ""
            yield Reason(code, f"{what} is paused since {_time(pause.since)}{why}")
    if not facts.coordinators:
        yield Reason("no_coordinator", "no coordinator is alive: start one with `callboard coordinator`")
    serving = [one for one in facts.workers if one.serves and not one.paused and not one.draining]
    if not serving:
        yield _nobody(facts)
    for limit in facts.limits:
        if limit.holds(task.weight):
            yield _limited(limit, task.weight)
    if task.state is TaskState.BLOCKED or task.run_at > task.now:
        return
    if serving and all(one.held >= one.slots for one in serving):
        slots = sum(one.slots for one in serving)
        yield Reason("workers_busy", f"{_count(len(serving), 'worker')} could take it: all {slots} slots are taken")
    if facts.failed_in is not None and len(serving) > 1 and task.now - task.run_at < AVOIDS:
        detail = f"it is left to others than {facts.failed_in}, which failed it"
        yield Reason("worker_avoided", detail, task.run_at + AVOIDS)
    if facts.preferred is not None and task.now - task.run_at < PATIENT:
        yield Reason("affinity", f"it waits for {facts.preferred}, where its key is at home", task.run_at + PATIENT)
    if facts.ahead:
        count = f"more than {COUNTED:,}" if facts.ahead > COUNTED else f"{facts.ahead:,}"
        are = "task of its queue comes" if facts.ahead == 1 else "tasks of its queue come"
        yield Reason("position", f"{count} due {are} before it")
    if task.expires_at is not None and task.expires_at > task.now:
        detail = f"it is not started after {_time(task.expires_at)}, {_span(task.expires_at - task.now)} from now"
        yield Reason("expires", detail, task.expires_at)


def _blocked(facts: Facts) -> Reason:
    named = ", ".join(f"{one.id} {one.name} ({one.state})" for one in facts.parents[:NAMED])
    more = facts.parents_left - len(facts.parents[:NAMED])
    rest = f" and {more} more" if more > 0 and named else ""
    if not named:
        return Reason("blocked", "what it depends on has ended; a scheduler is about to tell it")
    return Reason("blocked", f"it waits for {_count(facts.parents_left, 'task')} to end: {named}{rest}")


def _not_due(facts: Facts) -> Reason:
    task = facts.task
    wait = _span(task.run_at - task.now)
    if shown_state(task) != "retrying":
        return Reason("not_due", f"not due for {wait}", task.run_at)
    last = facts.attempts[-1] if facts.attempts else None
    if last is None or last.outcome == "snoozed":
        return Reason("retrying", f"its handler asked for a pause: the next attempt is in {wait}", task.run_at)
    error = f" ({_error(last.error)})" if last.error else ""
    used = f"{task.tries} of {task.max_tries} tries are used"
    return Reason("retrying", f"attempt {last.attempt} {last.outcome}{error}, {used}: next in {wait}", task.run_at)


def _nobody(facts: Facts) -> Reason:
    """Nobody can take it now; what comes nearest is told."""
    task, workers = facts.task, facts.workers
    knowing = [one for one in workers if one.knows]
    if not workers:
        return Reason("no_worker", "no worker is alive: start one with `callboard worker`")
    if not knowing:
        return Reason("no_handler", f"none of {_count(len(workers), 'live worker')} knows {task.name}")
    listening = [one for one in knowing if one.listens]
    if not listening:
        detail = f"{_names(knowing)} know{_s(knowing)} {task.name}, but not queue {task.queue}"
        return Reason("no_worker_of_queue", detail)
    labelled = [one for one in listening if one.labelled]
    if not labelled:
        wanted = ", ".join(f"{name}={value}" for name, value in sorted(task.requirements.items()))
        return Reason("no_worker_with_labels", f"{_names(listening)} lack{_s(listening)} {wanted}")
    states = "paused" if all(one.paused for one in labelled) else "paused or draining"
    are = "is" if len(labelled) == 1 else "are"
    detail = f"{_names(labelled)} could take it, but {are} {states}: `callboard workers resume`"
    return Reason("workers_paused", detail)


def _limited(limit: LimitFact, weight: int) -> Reason:
    if limit.period is not None:
        detail = f"{limit.whose} has started {limit.used} of {limit.most} tasks that may start in {limit.period:g} s"
        if limit.refill is not None:
            detail += f"; the next may start at {_time(limit.refill)}"
        return Reason(limit.code, detail, limit.refill)
    held = f", held by {', '.join(map(str, limit.tasks[:NAMED]))}" if limit.tasks else ""
    more = ", …" if len(limit.tasks) > NAMED else ""
    need = f" and it needs {weight}" if weight > 1 else ""
    return Reason(limit.code, f"{limit.whose} is at {limit.used} of {limit.most}{held}{more}{need}")


def _held(facts: Facts) -> Iterator[Reason]:
    task = facts.task
    if task.cancel_requested_at is not None:
        since = _span(task.now - task.cancel_requested_at)
        yield Reason("cancelling", f"it was asked {since} ago to stop, and its handler has not left yet")
    if facts.lease_until is not None and facts.lease_until < task.now:
        detail = f"{task.worker} has been silent beyond its lease: it is judged, and the task goes to another one"
        yield Reason("worker_silent", detail)
    elif task.state is TaskState.ASSIGNED and facts.ack_by is not None:
        yield Reason("unacknowledged", f"{task.worker} has not said yet that it took it", facts.ack_by)


def _placement(facts: Facts) -> str | None:
    task = facts.task
    if task.worker is None:
        return None
    where = f"attempt {task.attempt} went to {task.worker}"
    if task.assigned_at is not None:
        where += f" at {_time(task.assigned_at)}"
    if facts.coordinator:
        where += f", by coordinator {facts.coordinator}"
    serving = [one for one in facts.workers if one.serves]
    if facts.failed_in is not None and facts.failed_in != task.worker:
        return f"{where}: {facts.failed_in} had failed it"
    if facts.preferred == task.worker:
        return f"{where}: its affinity key is at home there"
    if task.state in HELD and [one.id for one in serving] == [task.worker]:
        return f"{where}: no other live worker serves it"
    return f"{where}: it was that worker's turn"


def _ended(facts: Facts) -> tuple[str, str | None]:
    """How it ended; why it is not tried again and what to do."""
    task = facts.task
    when = "" if task.finished_at is None else f" at {_time(task.finished_at)}"
    again = f"`callboard tasks retry {task.id}` posts it anew"
    error = _error(task.error)
    match task.state:
        case TaskState.SUCCEEDED:
            return f"succeeded{when} with attempt {task.attempt}", None
        case TaskState.CANCELLED:
            return f"cancelled{when}: {error or 'somebody asked for it'}", again
        case TaskState.EXPIRED:
            return f"expired{when}: it had not started by {_time(task.expires_at)}", again
        case TaskState.QUARANTINED:
            why = f"{task.crashes} executors or workers died under it" if task.crashes else error
            return f"set aside{when}: {why}", f"it would do so again: mend the handler, then {again}"
        case _:
            why = f"all {task.max_tries} tries are used" if task.tries >= task.max_tries else _final_cause(facts)
            return f"failed{when} with attempt {task.attempt}: {error}", f"{why}; {again}"


def _final_cause(facts: Facts) -> str:
    last = facts.attempts[-1] if facts.attempts else None
    if last is not None and last.outcome in ("crashed", "lost"):
        return "its executor or worker died, and it says retry_on_crash: false"
    return "its handler said that no retry would help, or its arguments or result were not valid"


def _error(error: object) -> str:
    if not isinstance(error, dict):
        return ""
    message = " ".join(str(error.get("message", "")).split())
    return f"{error.get('type', 'Error')}: {message[:200]}" if message else str(error.get("type", "Error"))


def _names(workers: Sequence[WorkerFact]) -> str:
    more = f" and {len(workers) - NAMED} more" if len(workers) > NAMED else ""
    return ", ".join(one.id for one in workers[:NAMED]) + more


def _s(workers: Sequence[WorkerFact]) -> str:
    return "s" if len(workers) == 1 else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _time(when: datetime | None) -> str:
    return "" if when is None else when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _span(span: timedelta) -> str:
    """Like "4 min 3 s"; the two largest parts."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, parts = int(seconds), []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
