"""The task at which claims fail is quarantined: what the claim got, else the next that is due in its lane."""

from __future__ import annotations

import json
import os

import pytest

from tests.support.bench import Bench


async def test_the_next_due_task_of_the_lane_is_quarantined(bench: Bench) -> None:
    await bench.put(1, name="other", priority=1)
    later = await bench.put(1, priority=3)
    [first, *rest] = await bench.put(2)
    session = await bench.session()
    lane = await bench.lane()
    assert await bench.dispatch.set_aside(lane, os.urandom(16), [session.id], "why not") == first
    row = await bench.task(first)
    assert (row["state"], row["attempt"], row["lease_key"]) == ("quarantined", 0, None)
    assert row["finished_at"] is not None
    error = row["error"] if isinstance(row["error"], dict) else json.loads(row["error"])
    assert (error["type"], error["message"]) == ("Unclaimable", "why not")
    assert [(await bench.task(one))["state"] for one in rest + later] == ["queued"] * 2


async def test_what_the_claim_got_goes_first(bench: Bench) -> None:
    got, waiting = await bench.put(2)
    session, key = await bench.session(), os.urandom(16)
    await bench.claim(session, 1, key=key)
    assert await bench.dispatch.set_aside(await bench.lane(), key, [session.id], "why not") == got
    assert (await bench.task(got))["state"] == "quarantined"
    assert (await bench.task(waiting))["state"] == "queued"


@pytest.mark.parametrize("why", ["a\x00b", "\ud800", "x" * 100_000])
async def test_whatever_the_words_are(bench: Bench, why: str) -> None:
    [task] = await bench.put(1)
    assert await bench.dispatch.set_aside(await bench.lane(), os.urandom(16), [], why) == task


async def test_nothing_due_is_none(bench: Bench) -> None:
    assert await bench.dispatch.set_aside(await bench.lane(), os.urandom(16), [], "why not") is None
