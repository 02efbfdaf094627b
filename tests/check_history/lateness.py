"""V19: how late what was due was started, in a run without a fault."""

from __future__ import annotations

from collections.abc import Iterator

from tests.check_history.history import SECOND, History, Problem
from tests.check_history.intervals import Interval

P50, P99, POLLING = 0.05, 0.5, 1.5  # seconds
LEAST = 20  # first attempts: fewer say nothing


def punctual(history: History, runs: list[Interval]) -> Iterator[Problem]:
    """`lateness` true: all channels work; "polling": nobody is told, everybody looks."""
    wanted = history.expect["lateness"]
    if not wanted or history.clock.stepped:
        return
    due = {task: history.clock.monotonic(rows[0]["run_at"]) for task, rows in history.changes.items()}
    first = [one for one in runs if one.attempt == 1 and one.task in due]
    late = sorted((((one.start - due[one.task]) / SECOND, one) for one in first), key=lambda pair: pair[0])
    if len(late) < LEAST:
        yield Problem("inconclusive", f"{len(late)} first attempts say nothing of lateness")
        return
    checks = ((1.0, POLLING),) if wanted == "polling" else ((0.5, P50), (0.99, P99))
    for share, limit in checks:
        seconds, one = late[min(len(late) - 1, int(share * len(late)))]
        if seconds > limit:
            yield Problem(
                "V19",
                f"of first starts, {share:.0%} were up to {seconds:.3f} s late; {limit:g} s are allowed",
                (one.line,),
            )
