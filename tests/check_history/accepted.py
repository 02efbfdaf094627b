"""V1: nothing acknowledged is lost, nothing exists that nobody asked for. V13: one key, one task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.check_history.history import FINAL, History, Problem


def nothing_lost(history: History) -> Iterator[Problem]:
    rows = history.rows
    told = history.of("submit_ok", "retry_ok")
    for line in told:
        if line["task"] not in rows:
            yield Problem("V1", f"task {line['task']} was acknowledged and is not in the table", (line,))
        elif line["event"] == "retry_ok" and rows[line["task"]]["retry_of"] != line["of"]:
            yield Problem("V1", f"task {line['task']} is no retry of task {line['of']}", (line, rows[line["task"]]))
    spared = set(history.expect["unfinished"])
    for row in history.tasks:
        if row["state"] not in FINAL and row["id"] not in spared:
            yield Problem("V1", f"task {row['id']} never became final", (row, *history.changes.get(row["id"], ())))
    yield from _nobody_asked(history, {line["task"] for line in told})


def _nobody_asked(history: History, told: set[int]) -> Iterator[Problem]:
    """A submission without an answer may exist, once; one that was refused may not."""
    ends: dict[str, set[str]] = defaultdict(set)
    outcome = {line["op"]: line["event"] for line in history.of("submit_ok", "submit_fail", "submit_info")}
    for line in history.of("submit_invoke"):
        ends[line["key"]].add(outcome.get(line["op"], "submit_info"))
    unsure = sum("submit_ok" not in one and "submit_info" in one for one in ends.values())
    answers = {line["op"] for line in history.of("retry_ok", "retry_fail")}
    retries = sum(line["op"] not in answers for line in history.of("retry_invoke"))
    strangers = [row for row in history.tasks if row["id"] not in told]
    for kind, rest, allowed in (
        ("task", [row for row in strangers if row.get("retry_of") is None], unsure),
        ("retry", [row for row in strangers if row.get("retry_of") is not None], retries),
    ):
        if len(rest) > allowed:
            yield Problem(
                "V1", f"a {kind} exists that nobody asked for: {len(rest)} are unknown, {allowed} may be",
                tuple(rest[:3]),
            )  # fmt: skip


def one_key_one_task(history: History) -> Iterator[Problem]:
    invoked = {line["op"]: line for line in history.of("submit_invoke")}
    first: dict[str, tuple[dict[str, object], dict[str, object]]] = {}
    owner: dict[int, str] = {}
    for line in history.of("submit_ok"):
        asked = invoked.get(line["op"])
        if asked is None:
            yield Problem("V13", f"operation {line['op']} was answered and never asked", (line,))
            continue
        before, answer = first.setdefault(asked["key"], (asked, line))
        if answer["task"] != line["task"]:
            yield Problem("V13", f"key {asked['key']} stands for two tasks", (before, answer, asked, line))
        elif before["body_hash"] != asked["body_hash"]:
            yield Problem("V13", f"key {asked['key']} was accepted with another body", (before, asked, line))
        if owner.setdefault(line["task"], asked["key"]) != asked["key"]:
            yield Problem("V13", f"task {line['task']} was given to two keys", (asked, line))
