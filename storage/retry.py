"""Posts finished tasks anew; with them, where asked for, what was cancelled because they did not succeed.

asyncio-flavoured, inside one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from actors.model.errors import Conflict, NotFound
from storage.connect import Connection
from storage.queries import sql

MOST = 10_000  # tasks that one retry posts


async def post_again(connection: Connection, task: int, submitted_by: str | None, *, with_children: bool) -> int:
    """The id of the new task. Raises Conflict when an unfinished retry exists, NotFound."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('callboard_retry'), $1)", task % 2**31)
    other: int | None = await connection.fetchval(
        "SELECT id FROM callboard_tasks WHERE retry_of = $1 AND finished_at IS NULL", task
    )
    if other is not None:
        raise Conflict(f"task {other} is an unfinished retry of task {task}")
    ids = [task]
    if with_children:
        ids = [row["id"] for row in await connection.fetch(sql("cancelled_dependants"), task, MOST + 1)]
        if len(ids) > MOST:
            raise Conflict(f"more than {MOST:,} tasks were cancelled with task {task}: retry it without them")
    again = set(ids)
    edges = await connection.fetch(sql("edges_of"), ids)
    parents, left = Counter[int](), Counter[int]()
    for edge in edges:
        parents[edge["child_id"]] += 1
        left[edge["child_id"]] += edge["child_id"] != task and not _settled(edge["state"], edge["cancels"])
    have_children = {edge["parent_id"] for edge in edges if edge["parent_id"] in again}
    rows = await connection.fetch(
        sql("post_again"),
        ids,
        submitted_by,
        [parents[one] for one in ids],
        [left[one] for one in ids],
        [one in have_children for one in ids],
    )
    made: dict[int, int] = {row["retry_of"]: row["id"] for row in rows}
    if task not in made:
        raise NotFound(f"task {task} does not exist, or was pruned")
    if edges:
        await connection.execute(
            sql("connect"),
            [made[edge["child_id"]] for edge in edges],
            [made.get(edge["parent_id"], edge["parent_id"]) for edge in edges],
            [edge["cancels"] for edge in edges],
            [edge["child_id"] == task or _settled(edge["state"], edge["cancels"]) for edge in edges],
        )
        # One that depends on another failure too, which nobody retries, is told so by the resolver.
        others = {edge["parent_id"] for edge in edges if edge["child_id"] != task} - again
        await connection.execute(sql("hear_again"), sorted(others))
    return made[task]


async def post_all_again(connection: Connection, tasks: Sequence[int], submitted_by: str | None) -> int:
    """Finished tasks of which no retry exists; how many were posted. None of them waits for its parents again."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('callboard_retry'), k.key)"
        " FROM (SELECT DISTINCT (id % 2147483648)::int AS key FROM unnest($1::bigint[]) AS id ORDER BY 1) k",
        list(tasks),
    )
    rows = await connection.fetch(
        "SELECT t.id FROM callboard_tasks t WHERE t.id = ANY ($1::bigint[]) AND t.finished_at IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM callboard_tasks r WHERE r.retry_of = t.id) ORDER BY t.id",
        list(tasks),
    )
    ids = [row["id"] for row in rows]
    edges = await connection.fetch(sql("edges_of"), ids)
    parents = Counter(edge["child_id"] for edge in edges)
    made = await connection.fetch(
        sql("post_again"), ids, submitted_by, [parents[one] for one in ids], [0] * len(ids), [False] * len(ids)
    )
    if edges:
        new = {row["retry_of"]: row["id"] for row in made}
        await connection.execute(
            sql("connect"),
            [new[edge["child_id"]] for edge in edges],
            [edge["parent_id"] for edge in edges],
            [edge["cancels"] for edge in edges],
            [True] * len(edges),
        )
    return len(made)


def _settled(state: str, cancels: bool) -> bool:
    """Whether a new child need not wait for a parent of this state."""
    return state == "succeeded" or (not cancels and state in ("failed", "cancelled", "expired", "quarantined", "gone"))
