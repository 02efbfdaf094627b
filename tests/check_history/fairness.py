"""V9: what was due first goes first, and coordinators share out alike."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby

from tests.check_history.history import SECOND, History, Problem, Row, assigns, gives

EARLIER = 2.0  # seconds
WINDOW, SPAN = 500, 5.0  # assignments of one coordinator, and seconds that they take at least
TOLERANCE, DEVIATIONS = 0.2, 3.0  # share of a share, and what chance adds to it


def in_order(history: History) -> Iterator[Problem]:
    """Within one kind and priority. Retries may wait for another worker, and what is locked is passed over."""
    lane = {row["id"]: (row["lane_id"], row["priority"]) for row in history.tasks}
    waiting: dict[tuple[int, int], list[tuple[float, int]]] = defaultdict(list)
    queued: dict[int, Row] = {}
    troubled = _troubles(history)
    rows = (row for row in history.audit if row["table"] == "tasks" and row["key"] in lane)
    for _, group in groupby(rows, key=lambda row: row["txid"]):
        together = list(group)
        locked = troubled(together[0])
        for row in together:
            queued.pop(row["key"], None)
            if row["new_state"] == "queued" and not row["tries"]:
                queued[row["key"]] = row
                heapq.heappush(waiting[lane[row["key"]]], (row["run_at"], row["key"]))
        for row in together:
            if assigns(row) and not locked and (passed := _passed(waiting[lane[row["key"]]], queued, row)) is not None:
                yield Problem(
                    "V9", f"task {row['key']} was given out before task {passed['key']}, due earlier", (passed, row)
                )
                queued.pop(passed["key"])  # told once


def _troubles(history: History) -> Callable[[Row], bool]:
    """Whether something was wrong with the database: rows may have been locked."""
    offs = {line["id"]: line["t"] for line in history.of("fault_off")}
    spans = [
        (line["t"], offs.get(line["id"], history.run["ended_t"]) + round(2 * EARLIER * SECOND))
        for line in history.of("fault_on")
        if line["kind"] == "database"
    ]
    return lambda row: bool(spans) and any(begin <= history.at(row) <= end for begin, end in spans)


def _passed(heap: list[tuple[float, int]], queued: dict[int, Row], given: Row) -> Row | None:
    while heap and (heap[0][1] not in queued or queued[heap[0][1]]["run_at"] != heap[0][0]):
        heapq.heappop(heap)
    if not heap:
        return None
    first = queued[heap[0][1]]
    seen = max(first["at"], first["run_at"])
    return first if first["run_at"] < given["run_at"] - EARLIER and seen < given["at"] - EARLIER else None


def shared_out(history: History) -> Iterator[Problem]:
    """Over so many assignments of one coordinator, among sessions that were there all the time and nothing struck:
    each one's share lies between an equal one and that of its slots."""
    given = gives(history)
    struck = {line["target"] for line in history.of("fault_on")}
    slots = {row["session_id"]: row["slots"] for row in history.workers if row["name"] not in struck}
    ended = {
        row["key"]: row["at"] for row in history.audit
        if row["table"] == "workers" and row["new_state"] not in ("live",)
    }  # fmt: skip
    by_coordinator: dict[str, list[Row]] = defaultdict(list)
    for line in history.of("claim"):
        claimed = (given.get((task, attempt)) for task, attempt in line["tasks"])
        by_coordinator[line["proc"]] += [row for row in claimed if row is not None]
    sole = len(by_coordinator) == 1
    for coordinator, rows in by_coordinator.items():
        for window in _windows(rows):
            count = Counter(row["session"] for row in window)
            began, over = window[0]["at"], window[-1]["at"]
            born = {row["session_id"]: row["connected_at"] for row in history.workers}
            there = [one for one in slots if born[one] < began and ended.get(one, float("inf")) > over]
            there = there if sole else [one for one in there if count[one]]
            yield from _uneven(coordinator, {one: count[one] for one in there}, slots)


def _windows(rows: list[Row]) -> Iterator[list[Row]]:
    """Of so many assignments that take so long: in a moment an executor may not get a processor at all."""
    start = 0
    for end, row in enumerate(rows, start=1):
        if end - start >= WINDOW and row["at"] - rows[start]["at"] >= SPAN:
            yield rows[start:end]
            start = end


def _uneven(coordinator: str, count: dict[int, int], slots: dict[int, int]) -> Iterator[Problem]:
    total, capacity = sum(count.values()), sum(slots[one] for one in count)
    if len(count) < 2 or total < WINDOW // 2:
        return
    for session, mine in count.items():
        shares = (1 / len(count), slots[session] / capacity)
        slack = TOLERANCE + DEVIATIONS / (min(shares) * total) ** 0.5
        if not (1 - slack) * min(shares) <= mine / total <= (1 + slack) * max(shares):
            yield Problem("V9", f"{coordinator} gave session {session} {mine} of {total} tasks", (count,))
