"""T13, T15: what waited too long, and what need not be kept any longer."""

from __future__ import annotations

from dataclasses import replace

from storage.memory.rows import FINAL, OPEN
from storage.memory.tables import Changes, Tables
from storage.memory.values import later

DAY = 86_400.0  # seconds
KEPT, KEPT_LONGER, KEY_KEPT, SESSION_KEPT = 7 * DAY, 30 * DAY, DAY, 30 * DAY
CLAIMS_ARE_OVER = 600.0  # seconds after the end of a session


def expire(tables: Tables, limit: int) -> int:
    """expire.sql; how many."""
    now = tables.now()
    late = [
        row
        for row in map(tables.tasks.__getitem__, sorted(tables.unfinished))
        if row.state == "queued" and row.expires_at is not None and row.expires_at <= now
    ]
    tables.apply(Changes(tasks={row.id: replace(row, state="expired", finished_at=now) for row in late[:limit]}))
    return len(late[:limit])


def prune(tables: Tables, limit: int) -> int:
    """prune.sql; how many tasks."""
    now, changes = tables.now(), Changes()
    old: list[int] = []
    for states, kept in (({"succeeded"}, KEPT), (FINAL - {"succeeded"}, KEPT_LONGER)):
        before = later(now, -kept)
        ends = [
            (row.finished_at, row.id)
            for row in tables.tasks.values()
            if row.state in states and row.finished_at is not None and row.finished_at < before
        ]
        old += [number for _, number in sorted(ends)[:limit]]
    changes.tasks.update(dict.fromkeys(sorted(old)[:limit]))
    keys = [(row.created_at, row.key) for row in tables.keys.values() if row.created_at < later(now, -KEY_KEPT)]
    changes.keys.update({key: None for _, key in sorted(keys)[:limit]})
    tables.apply(changes)
    return len(changes.tasks)


def prune_sessions(tables: Tables) -> None:
    """prune_sessions.sql: an ended session that holds nothing is marked, and goes in a later round."""
    now, changes = tables.now(), Changes()
    for number, row in tables.sessions.items():
        if row.state in OPEN or row.ended_at is None:
            continue
        if row.swept and row.ended_at < later(now, -SESSION_KEPT):
            changes.sessions[number] = None
        elif not row.swept and row.ended_at < later(now, -CLAIMS_ARE_OVER) and not tables.holds(number):
            changes.sessions[number] = replace(row, swept=True)
    tables.apply(changes)
