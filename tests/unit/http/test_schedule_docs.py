"""docs/schedules.md: its examples are taken, and show what really happens."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import callboard
from actors.model.schedule import DEFAULT_CAP, DEFAULT_WINDOW
from actors.model.schedule_fields import interval, read_schedule
from actors.model.wrong import Wrong
from api.cli.main import main
from api.http.schedules import BACKFILL
from tests.support.http_api import Api

PAGE = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text()
SHOWN = {"name": "x", "cron": "@daily", "every": None, "at": None}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def judge(request: httpx.Request) -> httpx.Response:
    """As the API would: what is wrong with a body is told."""
    now = datetime.now(UTC)
    path = request.url.path
    found: list[Wrong] = []
    if request.method == "PUT":
        _, found = read_schedule(json.loads(request.content), now, name=path.rpartition("/")[2])
    elif path.endswith("/backfill"):
        _, found = interval(json.loads(request.content), now)
    if found:
        return httpx.Response(422, json={"detail": found[0].line})
    listed = path.endswith(("/schedules", "/slots", "/preview"))
    return httpx.Response(200, json={"items": [], "next_cursor": None} if listed else SHOWN)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **o: real(**{**o, "transport": httpx.MockTransport(judge)}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("CALLBOARD_API_URL", "http://api.test")


def test_every_command_is_understood(judged: None, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) > 8
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, (command, capsys.readouterr().err)


def test_the_python_example_runs(judged: None) -> None:
    [example] = blocks("python")
    exec(compile(example, "docs/schedules.md", "exec"), {"callboard": callboard})


async def test_the_bodies_are_taken(api: Api) -> None:
    for number, block in enumerate(blocks("json")):
        answer = await api.call("PUT", f"/api/v1/schedules/s{number}", json=json.loads(block))
        assert answer.status == 201


async def test_the_preview_is_what_the_page_shows(api: Api) -> None:
    rows = re.findall(r"^\| (20\S+) \| (\w*) ?\| ?(.*?) ?\|$", PAGE, re.M)
    answer = await api.post(f"/api/v1/schedules/preview?count={len(rows)}", json.loads(blocks("json")[-1]))
    found: list[Any] = answer.json["items"]
    assert rows == [(one["local"], one["dst"], one["skipped"] or "") for one in found]
    assert len(rows) == 3


def test_the_numbers_are_the_real_ones() -> None:
    assert f"default {DEFAULT_WINDOW:g} s" in PAGE
    assert f"default {DEFAULT_CAP})" in PAGE
    assert f"at most {BACKFILL:,} at a time" in PAGE
