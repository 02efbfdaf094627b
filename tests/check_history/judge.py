"""Judges a run: everything that is wrong with it, or that it can't be told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.check_history import (
    accepted,
    accounting,
    answers,
    attempts,
    bounds,
    cancelling,
    complete,
    fairness,
    fencing,
    finality,
    health,
    lateness,
    overlap,
    resources,
    schedules,
    states,
    stops,
)  # fmt: skip
from tests.check_history.history import History, Problem
from tests.check_history.intervals import intervals
from tests.check_history.reading import read

CODES = {"holds": 0, "violated": 1, "inconclusive": 2}
SHOWN, EVIDENCE = 5, 4  # problems of one invariant, lines of each
LINE = 400  # characters


@dataclass(frozen=True)
class Judgement:
    """`verdict` is holds, violated or inconclusive."""

    verdict: str
    problems: tuple[Problem, ...] = ()

    @property
    def code(self) -> int:
        return CODES[self.verdict]

    @property
    def reasons(self) -> list[str]:
        """A few of each kind, in words."""
        found: list[str] = []
        for about in dict.fromkeys(one.about for one in self.problems):
            mine = [one for one in self.problems if one.about == about]
            found += [f"{about}: {one.sentence}" for one in mine[:SHOWN]]
            if len(mine) > SHOWN:
                found.append(f"{about}: and {len(mine) - SHOWN} more")
        return found


def judge(folder: Path) -> Judgement:
    return judge_history(read(folder))


def judge_history(history: History) -> Judgement:
    """A violation outweighs what the run fell short of; with input missing, nothing is judged."""
    missing = complete.gaps(history)
    if missing:
        return Judgement("inconclusive", tuple(missing))
    try:
        problems = [*_all(history), *complete.shortfalls(history)]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return Judgement("inconclusive", (Problem("inconclusive", f"a line lacks what it needs: {error!r}"),))
    if any(one.about != "inconclusive" for one in problems):
        return Judgement("violated", tuple(problems))
    return Judgement("inconclusive" if problems else "holds", tuple(problems))


def _all(history: History) -> Iterator[Problem]:
    runs = intervals(history)
    yield from accepted.nothing_lost(history)
    yield from finality.one_final_state(history)
    yield from finality.reads_agree(history)
    yield from fencing.verdicts(history)
    yield from fencing.results_were_made(history, runs)
    yield from fencing.leases_quoted(history)
    yield from attempts.counted(history)
    yield from attempts.only_what_was_assigned(history, runs)
    yield from overlap.within_slots(history, runs)
    yield from cancelling.cancels(history, runs)
    yield from fairness.in_order(history)
    yield from fairness.shared_out(history)
    yield from bounds.failovers(history)
    yield from bounds.assignments(history)
    yield from stops.clean_stops(history, runs)
    yield from overlap.overlapping(history, runs)
    yield from accepted.one_key_one_task(history)
    yield from accounting.counts(history)
    yield from accounting.steps(history)
    yield from bounds.done_in_time(history)
    yield from resources.nothing_spins(history, runs)
    yield from resources.nothing_left_behind(history)
    yield from resources.nothing_grew(history)
    yield from health.honest(history)
    yield from answers.manners(history)
    yield from lateness.punctual(history, runs)
    yield from schedules.slots(history)
    yield from states.task_steps(history)
    yield from states.session_steps(history)
    yield from states.only_living_sessions(history)


def report(judgement: Judgement) -> str:
    """The verdict, then each problem with the lines that show it."""
    lines = [judgement.verdict]
    shown: dict[str, int] = {}
    for one in judgement.problems:
        shown[one.about] = shown.get(one.about, 0) + 1
        if shown[one.about] <= SHOWN:
            lines.append(f"{one.about}: {one.sentence}")
            lines += [f"    {_line(each)}" for each in one.evidence[:EVIDENCE] if each is not None]
    lines += [f"{about}: and {count - SHOWN} more" for about, count in shown.items() if count > SHOWN]
    return "\n".join(lines)


def _line(what: Any) -> str:
    if isinstance(what, dict):
        what = {name: value for name, value in what.items() if value is not None}
    return json.dumps(what, default=str)[:LINE]
