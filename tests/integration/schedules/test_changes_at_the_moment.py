"""A schedule is changed at the very moment at which it fires: the old or the new version wins entirely."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio

from actors.model.errors import NotFound
from actors.model.schedule import Definition
from actors.model.schedule_changes import edited, paused, resumed
from storage.store import Store, open_store
from tests.integration.schedules.conftest import Book, plan

TIMES = 50  # of each kind
Act = Callable[[Store, str], Awaitable[object]]


async def edit(store: Store, name: str) -> None:
    other = Definition(task={"name": "other"}, every=300.0)
    await store.schedules.change(name, lambda one, now: edited(one, other, now), definition=other)


async def edit_task(store: Store, name: str) -> None:
    other = Definition(task={"name": "other"}, every=60.0)
    await store.schedules.change(name, lambda one, now: edited(one, other, now), definition=other)


async def pause(store: Store, name: str) -> None:
    await store.schedules.change(name, lambda one, now: (paused(one, "now", now), None))


async def pause_and_resume(store: Store, name: str) -> None:
    await pause(store, name)
    await store.schedules.change(name, lambda one, now: (resumed(one, now), None))


async def delete(store: Store, name: str) -> None:
    await store.schedules.delete(name)


@pytest.mark.parametrize("act", [edit, edit_task, pause_and_resume, delete])
async def test_the_slot_fires_once_or_is_counted_once(book: Book, database_url: str, act: Act) -> None:
    names = [f"s{number}" for number in range(TIMES)]
    for name in names:
        await book.add(name, since=65)
    async with open_store(database_url) as other:

        async def fire() -> None:
            for _ in range(TIMES):
                await other.schedules.fire(plan, limit=3)
                await trio.sleep(random.uniform(0, 0.004))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fire)
            for name in names:
                await act(book.store, name)
    while (await book.schedules.fire(plan, limit=100)).schedules:
        pass
    rows = await book.database.fetch(
        "SELECT s.name, s.deleted_at IS NOT NULL AS deleted, w.version, w.state, w.count, l.name AS task"
        " FROM callboard_schedules s LEFT JOIN callboard_schedule_slots w ON w.schedule_id = s.id"
        " LEFT JOIN callboard_tasks t ON t.id = w.task_id LEFT JOIN callboard_lanes l ON l.id = t.lane_id"
    )
    found: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    for row in rows:
        if row["state"] is None:
            assert row["deleted"]  # before it could fire
            continue
        found[row["name"]].append((row["state"], row["count"]))
        if row["state"] == "fired":
            assert row["task"] == ("job" if row["version"] == 1 else "other")
    for name, entries in found.items():
        assert entries in ([("fired", 1)], [("gap", 1)]) or (act is delete and not entries), (name, entries)
    if act is edit_task:
        assert {state for entries in found.values() for state, _ in entries} == {"fired"}
    assert len(await book.unfinished()) == sum(entries == [("fired", 1)] for entries in found.values())


async def test_who_comes_too_late_is_told(book: Book) -> None:
    await book.add("s")
    await book.schedules.delete("s")
    for act in (edit, pause, delete):
        with pytest.raises(NotFound):
            await act(book.store, "s")
