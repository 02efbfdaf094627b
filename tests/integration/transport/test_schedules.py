"""Schedules over gRPC: the same rules as over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from actors.model.errors import AccessDenied, BadValue, NotFound
from actors.model.ports import TaskStore
from protos.generated.callboard import v1 as wire
from tests.support.fake_schedules import FakeSchedules
from tests.support.fake_store import FakeStore
from transport.channel import ask, open_channel
from transport.server import open_grpc_server

Ask = Callable[..., Awaitable[Any]]
DEFINITION = {"cron": "0 * * * *", "task": {"name": "report", "args": {"full": True}}}


@pytest.fixture
async def ask_for(loop: None) -> AsyncIterator[Ask]:
    store = FakeStore()

    async def forever(_: int) -> None: ...

    async with open_grpc_server(
        "127.0.0.1", 0, tasks=cast(TaskStore, store), submit=store.submit, wait_final=forever,
        schedules=FakeSchedules(), token="sesame",  # type: ignore[arg-type]
    ) as port, open_channel(f"http://127.0.0.1:{port}", 5) as channel:  # fmt: skip

        async def question(method: str, message: Any, answer: type[Any], token: str = "sesame") -> Any:
            return await ask(channel, "here", f"Scheduler/{method}", message, answer, token=token, limit=5)

        yield question


async def test_a_schedule_is_put_shown_listed_and_deleted(ask_for: Ask) -> None:
    put = wire.PutScheduleRequest(name="hourly", definition=json.dumps(DEFINITION))
    made: wire.Schedule = await ask_for("PutSchedule", put, wire.Schedule)
    assert json.loads(made.definition)["task"] == DEFINITION["task"]
    assert (made.version, made.paused) == (1, False)
    assert made.next_slot_at.endswith(":00:00Z")
    again: wire.Schedule = await ask_for("PutSchedule", put, wire.Schedule)
    assert again == made == await ask_for("GetSchedule", wire.ScheduleName(name="hourly"), wire.Schedule)
    put.definition = json.dumps({**DEFINITION, "overlap": "skip"})
    assert (await ask_for("PutSchedule", put, wire.Schedule)).version == 2
    page: wire.ListSchedulesReply = await ask_for(
        "ListSchedules", wire.ListSchedulesRequest(limit=1), wire.ListSchedulesReply
    )
    assert [one.name for one in page.items] == ["hourly"]
    rest = wire.ListSchedulesRequest(limit=1, cursor=page.next_cursor)
    page = await ask_for("ListSchedules", rest, wire.ListSchedulesReply)
    assert ([one.name for one in page.items], page.next_cursor) == (["nightly"], "")
    await ask_for("DeleteSchedule", wire.ScheduleName(name="hourly"), wire.DeleteScheduleReply)
    with pytest.raises(NotFound):
        await ask_for("GetSchedule", wire.ScheduleName(name="hourly"), wire.Schedule)


async def test_pause_resume_trigger_backfill_preview_and_the_ledger(ask_for: Ask) -> None:
    nightly = wire.ScheduleName(name="nightly")
    paused = await ask_for("PauseSchedule", wire.PauseScheduleRequest(name="nightly", reason="a move"), wire.Schedule)
    assert (paused.paused, paused.paused_reason, paused.next_slot_at) == (True, "a move", "")
    assert not (await ask_for("ResumeSchedule", nightly, wire.Schedule)).paused
    assert (await ask_for("TriggerSchedule", nightly, wire.Slot)).kind == "trigger"
    span = wire.BackfillScheduleRequest(name="nightly", start="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z")
    done: wire.BackfillScheduleReply = await ask_for("BackfillSchedule", span, wire.BackfillScheduleReply)
    assert (done.posted, done.waiting, done.already) == (3, 0, 1)
    asked = wire.PreviewScheduleRequest(name="nightly", count=3)
    seen: wire.PreviewScheduleReply = await ask_for("PreviewSchedule", asked, wire.PreviewScheduleReply)
    assert len(seen.items) == 3
    assert all(one.slot_at == one.run_at and not one.skipped for one in seen.items)
    slots: wire.ListSlotsReply = await ask_for("ListSlots", wire.ListSlotsRequest(name="nightly"), wire.ListSlotsReply)
    assert [(one.state, one.count, one.task) for one in slots.items] == [("gap", 7, 0), ("fired", 1, 1)]
    assert slots.next_cursor == ""


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("{", "definition"),
        ("[]", "must be an object"),
        (json.dumps({**DEFINITION, "cron": "*/61 * * * *"}), "cron: .*from 1 to 59"),
        (json.dumps({**DEFINITION, "timezone": "Europe/Berln"}), "did you mean Europe/Berlin"),
        (json.dumps({**DEFINITION, "task": {"name": "x", "args": {"a": "\x00"}}}), "NUL"),
    ],
)
async def test_a_wrong_definition_is_refused_in_the_same_words(ask_for: Ask, definition: str, said: str) -> None:
    with pytest.raises(BadValue, match=said):
        await ask_for("PutSchedule", wire.PutScheduleRequest(name="x", definition=definition), wire.Schedule)


async def test_other_wrong_questions(ask_for: Ask) -> None:
    for name in ("nobody", "a b", "\x00", ""):
        with pytest.raises(NotFound):
            await ask_for("TriggerSchedule", wire.ScheduleName(name=name), wire.Slot)
    with pytest.raises(BadValue, match="start"):
        await ask_for("BackfillSchedule", wire.BackfillScheduleRequest(name="nightly"), wire.BackfillScheduleReply)
    with pytest.raises(BadValue, match="count"):
        asked = wire.PreviewScheduleRequest(name="nightly", count=9_999)
        await ask_for("PreviewSchedule", asked, wire.PreviewScheduleReply)
    with pytest.raises(AccessDenied):
        await ask_for("GetSchedule", wire.ScheduleName(name="nightly"), wire.Schedule, token="wrong")
