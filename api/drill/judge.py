"""What a drill has shown, and whether it is within the bounds. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from api.drill.record import FINAL, Record, Watched
from api.drill.system import Row

RESOLUTION = 0.15  # seconds by which a look may come after what it sees
BACK_OFF = 1.0  # seconds that a task waits which was lost before
_LOST = "lost"
_BY_ITSELF = frozenset({"succeeded", "failed", "timed_out", "cancelled", "crashed", "snoozed"})


def judge(record: Record) -> dict[str, Any]:
    """The facts; `ok` only if nothing was lost or recorded twice, and all was in time."""
    found, kinds = problems(record), Counter(fate(one, record) for one in record.tasks)
    times = sorted(one.again for one in record.tasks if one.again is not None)
    return {
        "ok": not found,
        "problems": found,
        "drill": f"{'freeze' if record.freeze else 'kill'} {record.target.kind}",
        "target": record.target.name,
        "id": record.target.id,
        "bounds": record.bounds.as_json(),
        "suspected_after": _rounded(record.suspected),
        "noticed_after": _rounded(record.noticed),
        "again_after": None if not times else {"p50": _rounded(times[len(times) // 2]), "max": _rounded(times[-1])},
        "tasks": len(record.tasks),
        "undisturbed": kinds["undisturbed"],
        "repeated": kinds["repeated"],
        "moved_unharmed": kinds["moved"],
        "ended": kinds["ended"],
        "waiting": kinds["waiting"],
        "lost": kinds["lost"],
        "late_outcomes_refused": sum(late_outcomes(one) for one in record.tasks),
        "back": None if record.back is None else {"id": record.back[0], "after": _rounded(record.back[1])},
        "returned_after": _rounded(record.returned),
        "unfrozen": record.unfrozen if record.freeze else None,
        "api_away": round(record.api_away, 1),
        "watched_for": _rounded(record.watched_for),
    }


def fate(one: Watched, record: Record) -> str:
    """What became of a task that was held when the node was struck.

    undisturbed: the same attempt runs or has ended. repeated: its attempt had begun, was lost, and another one began
    or will. moved: it was assigned anew without having begun, or after an attempt that ended by itself. ended: given
    up after this loss, as its settings say. waiting: back in the queue of a system that lost a worker. lost: gone, or
    still with the dead.
    """
    now = one.now
    if now is None:
        return "lost"
    if now["attempt"] > one.before["attempt"]:
        return "repeated" if _was_cut_off(one) else "moved"
    if now["state"] in FINAL:
        return "ended" if _end(one).get("outcome") == _LOST else "undisturbed"
    if now["state"] in ("assigned", "running", "cancelling"):
        stays = record.target.kind == "coordinator" or now["worker"] != record.target.id
        return "undisturbed" if stays else "lost"
    return "repeated" if record.target.kind == "coordinator" and _was_cut_off(one) else "waiting"


def problems(record: Record) -> list[str]:
    """What broke the promise; empty when nothing did."""
    bounds, found = record.bounds, list[str]()
    what = "shown as lost" if record.target.kind == "worker" else "replaced for its workers"
    if record.noticed is None:
        found.append(f"{record.target.title} was not {what} within {record.watched_for:.1f} s")
    elif record.noticed - RESOLUTION > bounds.noticed:
        found.append(
            f"{record.target.title} was {what} after {record.noticed:.1f} s, the bound is {bounds.noticed:.1f} s"
        )
    fates = {one.id: fate(one, record) for one in record.tasks}
    if lost := [one for one, kind in fates.items() if kind == "lost"]:
        found.append(f"lost: {_named(lost)}")
    if twice := [one.id for one in record.tasks if accepted_successes(one) > 1]:
        found.append(f"recorded twice: {_named(twice)}")
    if record.target.kind == "coordinator" and (
        repeated := [one for one, kind in fates.items() if kind in ("repeated", "ended")]
    ):
        found.append(f"a coordinator's death must repeat nothing, and did: {_named(repeated)}")
    if late := [one.id for one in record.tasks if _is_late(one, record, fates[one.id])]:
        found.append(f"not assigned again within {bounds.again:.1f} s although a worker had room: {_named(late)}")
    if record.freeze and not record.unfrozen:
        found.append(f"{record.target.title} is still frozen")
    return found


def _is_late(one: Watched, record: Record, kind: str) -> bool:
    """What had to wait for room, or for the pause after an earlier loss, has no bound of its own."""
    if record.bounds.again is None or not one.timed or not one.room or kind not in ("repeated", "moved", "waiting"):
        return False
    allowed = record.bounds.again + (BACK_OFF if one.before["crashes"] else 0.0) + RESOLUTION
    if one.again is None:
        return kind == "waiting" and record.watched_for > allowed
    return one.again > allowed


def _end(one: Watched) -> Row:
    """How the attempt ended that was held at the strike; empty: with success, or not at all."""
    ends = (row for row in one.attempts if row["attempt"] == one.before["attempt"] and row["accepted"])
    return next(ends, {})


def _was_cut_off(one: Watched) -> bool:
    """Whether that attempt had begun and did not end by itself. What nothing is known of counts as such."""
    end = _end(one)
    return end.get("outcome") not in _BY_ITSELF and (not end or end["started_at"] is not None)


def accepted_successes(one: Watched) -> int:
    """The final row is one; another could only stand beside it as an accepted attempt."""
    if one.now is None:
        return 0
    beside = {row["attempt"] for row in one.attempts if row["accepted"] and row["outcome"] == "succeeded"}
    return int(one.now["state"] == "succeeded") + len(beside - {one.now["attempt"]})


def late_outcomes(one: Watched) -> int:
    return sum(not row["accepted"] for row in one.attempts)


def at_risk(tasks: list[Row]) -> int:
    """Tasks that another loss sets aside: they were lost twice before."""
    return sum(task["crashes"] >= 2 for task in tasks)


def _named(ids: list[str]) -> str:
    return f"{len(ids)} tasks ({', '.join(ids[:5])}{', …' if len(ids) > 5 else ''})"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
