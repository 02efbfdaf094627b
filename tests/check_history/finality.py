"""V2: one final state, and nothing after it. V3: one result, which every read shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from tests.check_history.history import FINAL, History, Problem, Row


def one_final_state(history: History) -> Iterator[Problem]:
    for task, changes in history.changes.items():
        final: Row | None = None
        for row in changes:
            if final is not None and row["new_state"] is not None:
                yield Problem("V2", f"task {task} was {final['new_state']} and changed again", (final, row))
                break
            if row["new_state"] in FINAL:
                final = row
        else:
            last, kept = changes[-1], history.rows.get(task)
            if final is last and kept is not None and kept["state"] != last["new_state"]:
                yield Problem(
                    "V2", f"task {task} became {last['new_state']}; its row says {kept['state']}", (last, kept)
                )


def reads_agree(history: History) -> Iterator[Problem]:
    for line in history.of("read"):
        row = history.rows.get(line["task"])
        if row is None or line["state"] not in FINAL:
            continue
        if row["state"] != line["state"]:
            yield Problem("V3", f"task {line['task']} was read as {line['state']} and is {row['state']}", (line, row))
        elif line["result_hash"] != digest(row.get("result")):
            yield Problem("V3", f"the result of task {line['task']} was read, and is another in the table", (line, row))


def digest(result: Any) -> str | None:
    """Of a result as it stands in the table: JSON in a string."""
    value = json.loads(result) if isinstance(result, str) else result
    if value is None:
        return None
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
