"""V10: how long what a dead worker held waits for the next one. V15: how soon all is done after healing."""

from __future__ import annotations

from collections.abc import Iterator

from tests.check_history.history import FINAL, HELD, SECOND, Event, History, Problem, Row, assigns, leaves

ERROR = 0.5  # seconds of measuring
CLASSES = ("visible_death", "silent")


def bound(kind: str, terms: dict[str, float]) -> float:
    """Seconds from a death to the end of the attempts under it."""
    if kind == "silent":
        return terms["lease"] + terms["statement"] + terms["sweep"]
    return terms["grace"] + terms["sweep"] + terms["statement"]


def failovers(history: History) -> Iterator[Problem]:
    if history.clock.stepped:
        return
    faults = history.of("fault_on")
    offs = {line["id"]: line["t"] for line in history.of("fault_off")}
    for fault in faults:
        if fault["kind"] not in CLASSES or _others(history, fault, faults, offs):
            continue
        yield from _after(history, fault, offs.get(fault["id"], history.run["ended_t"]))


def _others(history: History, fault: Event, faults: list[Event], offs: dict[str, int]) -> bool:
    """Whether something else was wrong that may have held the failover up: then it is not of one class."""
    terms = history.terms
    reach = round((bound("silent", terms) + terms["quiet"] + terms["dispatch"]) * SECOND)
    return any(
        other["kind"] not in CLASSES
        and other["t"] < fault["t"] + reach
        and offs.get(other["id"], history.run["ended_t"]) > fault["t"] - reach
        for other in faults
    )


def _after(history: History, fault: Event, off: int) -> Iterator[Problem]:
    terms, died = history.terms, fault["t"]
    limit = died + round((bound(fault["kind"], terms) + ERROR) * SECOND)
    # Nobody's lease is judged to be over in a quiet period.
    quiet_ends = [line["t"] for line in history.of("quiet") if not line["on"] and line["t"] > died]
    quiet_began = [line["t"] for line in history.of("quiet") if line["on"]]
    if quiet_ends and any(began < limit for began in quiet_began):
        limit = max(limit, min(quiet_ends) + round((terms["sweep"] + terms["statement"] + ERROR) * SECOND))
    if fault["kind"] == "silent" and off < limit:
        return  # it was back before anybody had to act
    lost = {(row["task_id"], row["attempt"]) for row in history.attempts if row["outcome"] in ("lost", "undelivered")}
    for task, changes in history.changes.items():
        held = _held_at(history, changes, died)
        if held is None or history.names.get(held["session"]) != fault["target"]:
            continue
        if history.rows.get(task, {}).get("exclusive") and fault["kind"] == "visible_death":
            continue  # it waits for the lease
        end = next((row for row in changes if leaves(row) and row["attempt"] == held["attempt"]), None)
        if end is None or ((task, held["attempt"]) in lost and history.at(end) > limit):
            seconds = "never" if end is None else f"after {(history.at(end) - died) / SECOND:.2f} s"
            yield Problem(
                "V10", f"task {task} was freed {seconds}; {(limit - died) / SECOND:.2f} s are allowed",
                (fault, held, end),
            )  # fmt: skip


def _held_at(history: History, changes: list[Row], when: int) -> Row | None:
    held = None
    for row in changes:
        if history.at(row) > when:
            break
        held = row if row["new_state"] in HELD else None
    return held


def assignments(history: History) -> Iterator[Problem]:
    """What a lost worker held is given out again as soon as it is due, when somebody has a slot free."""
    if history.clock.stepped or any(line["kind"] not in CLASSES for line in history.of("fault_on")):
        return
    lost = {(row["task_id"], row["attempt"]) for row in history.attempts if row["outcome"] == "lost"}
    struck = {line["target"] for line in history.of("fault_on")}
    limit = history.terms["dispatch"] + history.terms["statement"] + ERROR
    slots = {row["session_id"]: row["slots"] for row in history.workers if row["name"] not in struck}
    free = _free_for(history, slots, limit)
    for task, changes in history.changes.items():
        for row, after in zip(changes, [*changes[1:], None], strict=True):
            if not leaves(row) or row["new_state"] != "queued" or (task, row["attempt"]) not in lost or row["cancel"]:
                continue
            due = max(row["at"], row["run_at"])
            taken = after["at"] if after is not None else float("inf")
            if taken > due + limit and any(begin <= due and due + limit <= end for begin, end in free):
                yield Problem("V10", f"task {task} was due for more than {limit:g} s beside a free slot", (row, after))


def _free_for(history: History, slots: dict[int, int], least: float) -> list[tuple[float, float]]:
    """Times, by the database, in which one session that nothing struck had a slot free, of at least this length."""
    found, since, held = [], dict[int, float](), dict.fromkeys(slots, 0)
    for row in history.audit:
        session, at = row["session"], row["at"]
        if session not in slots:
            continue
        if row["table"] == "workers":
            live = row["new_state"] == "live"
            if live:
                since.setdefault(session, at)
        else:
            held[session] += assigns(row) - leaves(row)
            live = held[session] < slots[session]
            if live:
                since.setdefault(session, at)
        if not live and (began := since.pop(session, None)) is not None and at - began >= least:
            found.append((began, at))
    return found


def done_in_time(history: History) -> Iterator[Problem]:
    if history.clock.stepped:
        return
    limit = history.expect["final_within"]
    for task, changes in history.changes.items():
        last = next((row for row in changes if row["new_state"] in FINAL), None)
        if last is None:
            continue
        seconds = (history.at(last) - history.run["healed_t"]) / SECOND
        if seconds > limit + ERROR and task not in history.expect["unfinished"]:
            yield Problem(
                "V15", f"task {task} became final {seconds:.1f} s after healing; {limit:g} s are allowed", (last,)
            )
