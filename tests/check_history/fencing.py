"""V3 and V4: what workers were told of their outcomes is what the database did with them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.check_history.history import HELD, SECOND, Event, History, Problem, Row, ends, gives
from tests.check_history.intervals import Interval

BECOMES = {
    "succeeded": {"succeeded"}, "failed": {"queued", "failed", "cancelled"}, "failed_finally": {"failed"},
    "timed_out": {"queued", "failed", "cancelled"}, "cancelled": {"queued", "cancelled"},
    "crashed": {"queued", "failed", "cancelled", "quarantined"}, "released": {"queued", "cancelled"},
    "snoozed": {"queued", "cancelled"}, "refused": {"queued", "cancelled"},
}  # fmt: skip
LATE = SECOND // 2  # error of mapping one clock to the other


def verdicts(history: History) -> Iterator[Problem]:
    ended, given = ends(history), gives(history)
    accepted: dict[tuple[int, int, str], Event] = {}
    for line in history.of("verdict"):
        what = (line["task"], line["attempt"])
        end, give = ended.get(what), given.get(what)
        if line["verdict"] == "fenced":
            yield from _fenced(history, line, give, end)
            continue
        if give is None or give["lease_key"] != line["key"]:
            yield Problem("V4", f"an outcome of {_name(line)} was accepted under a lease it never had", (line, give))
        elif end is None:
            yield Problem(
                "V3", f"an outcome of {_name(line)} was accepted, and the database knows of none", (line, give)
            )
        elif line["verdict"] == "accepted":
            if end["new_state"] not in BECOMES.get(line["kind"], {end["new_state"]}):
                yield Problem(
                    "V3", f"{line['kind']} of {_name(line)} was accepted; it became {end['new_state']}", (line, end)
                )
            if (before := accepted.setdefault((*what, line["key"]), line)) is not line:
                yield Problem("V3", f"two outcomes of {_name(line)} were accepted", (before, line))


def _fenced(history: History, line: Event, give: Row | None, end: Row | None) -> Iterator[Problem]:
    """Refusal is right once the attempt has ended otherwise, or was never the one that holds the lease."""
    if give is None or give["lease_key"] != line["key"] or line["task"] not in history.rows:
        return
    if end is None:
        yield Problem("V4", f"an outcome of {_name(line)} was refused while it held its lease", (line, give))
    elif not history.clock.stepped and history.at(end) > line["t"] + LATE:
        yield Problem("V4", f"an outcome of {_name(line)} was refused before anything superseded it", (line, end))


def leases_quoted(history: History) -> Iterator[Problem]:
    """Whatever changes a held task quotes the lease of its newest assignment."""
    for task, changes in history.changes.items():
        give: Row | None = None
        for row in changes:
            if row["new_state"] == "assigned" and row["old_state"] == "queued":
                give = row
            elif give is not None and row["old_state"] in HELD and row["new_state"] is not None:
                quoted = (row["attempt"], row["lease_key"]) == (give["attempt"], give["lease_key"])
                if not quoted:
                    yield Problem("V4", f"task {task} was changed under a lease that is not its own", (give, row))
                    break


def results_were_made(history: History, runs: list[Interval]) -> Iterator[Problem]:
    """A success needs a handler that returned."""
    returned = {(one.task, one.attempt) for one in runs if one.how == "return"}
    for (task, attempt), row in ends(history).items():
        if row["new_state"] == "succeeded" and (task, attempt) not in returned:
            yield Problem("V3", f"task {task} succeeded in attempt {attempt}, of which no handler returned", (row,))


def _name(line: Event) -> str:
    return f"task {line['task']} attempt {line['attempt']}"
