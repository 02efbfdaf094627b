"""docs/workflows.md, uniqueness.md, limits.md and explain.md: their examples are taken."""

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
from actors.model import explain
from actors.model.bulk import read_bulk
from actors.model.queue_fields import read_queue
from actors.model.submission import MOST_PARENTS, read_task
from actors.model.task import AGEING
from actors.model.workflow import MOST_TASKS, read_workflow
from actors.model.wrong import Wrong
from api.cli.main import main

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("workflows.md", "uniqueness.md", "limits.md", "explain.md", "bulk.md", "retention.md")
TASK = {"id": "1", "name": "demo", "state": "queued"}
QUEUE = {"name": "mail", "due": 0, "running": 0}
WORKFLOW = {"id": "7", "name": "nightly", "state": "running", "done": 0, "total": 4, "counts": {}}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.S)


def judge(request: httpx.Request) -> httpx.Response:
    """As the API would: what is wrong with a body is told."""
    now, path = datetime.now(UTC), request.url.path
    found: list[Wrong] = []
    answer: dict[str, Any] = WORKFLOW if "workflows" in path else TASK
    if path.endswith(("/tasks/cancel", "/tasks/retry")):
        _, found = read_bulk(json.loads(request.content))
        answer = {"matched": 1, "cancelled": 1, "retried": 1, "skipped": {}, "more": False, "dry_run": False}
    elif request.method == "POST" and path.endswith("/tasks"):
        _, found = read_task(json.loads(request.content), now, json.dumps)
    elif request.method == "POST" and path.endswith("/workflows"):
        _, found = read_workflow(json.loads(request.content), now, json.dumps)
        answer = {"id": "7", "ids": {}}
    elif request.method == "PATCH":
        _, found = read_queue(json.loads(request.content))
        answer = QUEUE
    elif path.endswith("/explain"):
        answer = {**TASK, "summary": "queued", "reasons": [], "placement": None, "retry": None}
    elif path.endswith(("/tasks", "/workflows", "/queues", "/attempts")):
        answer = {"items": [], "next_cursor": None}
    if found:
        return httpx.Response(422, json={"detail": found[0].line})
    return httpx.Response(200, json=answer)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **o: real(**{**o, "transport": httpx.MockTransport(judge)}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("CALLBOARD_API_URL", "http://api.test")
    [body] = blocks("workflows.md", "json")
    (tmp_path / "nightly.json").write_text(body)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(judged: None, capsys: pytest.CaptureFixture[str], page: str) -> None:
    commands = [line for block in blocks(page, "sh") for line in block.splitlines()]
    assert commands
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, (command, capsys.readouterr().err)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_example_runs(judged: None, page: str) -> None:
    [example] = blocks(page, "python")
    exec(compile(example, page, "exec"), {"callboard": callboard})


def test_every_reason_is_told_of() -> None:
    page = (DOCS / "explain.md").read_text()
    source = Path(explain.__file__).read_text()
    codes = set(re.findall(r'(?:Reason\(|code=|^ +\()"(\w+)"', source, re.M))
    assert len(codes) > 15
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []


def test_the_selection_is_taken() -> None:
    [body] = blocks("bulk.md", "json")
    assert read_bulk(json.loads(body))[1] == []


def test_the_limits_are_taken() -> None:
    for page in ("limits.md", "retention.md"):
        [body] = blocks(page, "json")
        assert read_queue(json.loads(body))[1] == []
    assert f"at its {AGEING:g} s" in (DOCS / "limits.md").read_text()


def test_the_numbers_are_the_real_ones() -> None:
    page = (DOCS / "workflows.md").read_text()
    assert f"ids of at most {MOST_PARENTS:,} tasks" in page
    assert f"A workflow has at most {MOST_TASKS:,} tasks" in page
