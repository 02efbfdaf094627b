"""`callboard queues …`, `handlers …` and `workflows …`: one question each, and what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.main import main

MAIL = {
    "name": "mail", "depth": 3, "due": 2, "running": 1, "oldest_age": 0.5, "concurrency": 5,
    "concurrency_per_key": None, "rate": {"limit": 100, "period": 60.0}, "rate_per_key": None, "paused": True,
    "paused_reason": "a move",
    "paused_at": "2026-03-02T12:00:00Z",
}  # fmt: skip
NOOP = {"name": "noop", "live": True, "queue": None, "max_tries": None, "timeout": None, "paused": False}
NIGHT = {"id": "7", "name": "night", "state": "running", "done": 1, "total": 4, "counts": {"queued": 3}}
ANSWERS: dict[str, Any] = {
    "GET /queues": {"items": [MAIL], "next_cursor": None},
    "GET /handlers": {"items": [NOOP], "next_cursor": None},
    "GET /workflows": {"items": [NIGHT], "next_cursor": "abc"},
    "GET /workflows/7": NIGHT,
    "POST /workflows/7/cancel": {"id": "7", "cancelled": 3, "cancelling": 0},
}
Asked = list[tuple[str, Any]]
Run = Callable[..., str]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the commands ask of the API."""
    found: Asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        key = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        found.append((key, json.loads(request.content) if request.content else None))
        return httpx.Response(200, json=ANSWERS.get(key, MAIL if "queues" in key else NOOP))

    transport = httpx.MockTransport(answer)
    real = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: real(**options, transport=transport))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("CALLBOARD_API_URL", "http://api.test")
    return found


@pytest.fixture
def run(asked: Asked, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str, code: int = 0) -> str:
        assert main(list(arguments)) == code
        output = capsys.readouterr()
        return output.out if code == 0 else output.err

    return command


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        ("queues get mail", ("GET /queues/mail", None)),
        ("queues set mail --concurrency 5", ("PATCH /queues/mail", {"concurrency": 5})),
        ("queues set mail --concurrency none", ("PATCH /queues/mail", {"concurrency": None})),
        ("queues set a/b --concurrency-per-key 2", ("PATCH /queues/a/b", {"concurrency_per_key": 2})),
        ("queues set mail --rate 100/60", ("PATCH /queues/mail", {"rate": {"limit": 100, "period": 60.0}})),
        ("queues set m --rate-per-key 3/0.5s", ("PATCH /queues/m", {"rate_per_key": {"limit": 3, "period": 0.5}})),
        ("queues pause mail --reason moves", ("POST /queues/mail/pause", {"reason": "moves"})),
        ("queues resume mail", ("POST /queues/mail/resume", {})),
        ("handlers pause noop", ("POST /handlers/noop/pause", {})),
        ("handlers resume noop", ("POST /handlers/noop/resume", {})),
        ("workflows get 7", ("GET /workflows/7", None)),
        ("workflows cancel 7", ("POST /workflows/7/cancel", None)),
    ],
)  # fmt: skip
def test_each_verb_is_one_question(run: Run, asked: Asked, arguments: str, question: tuple[str, Any]) -> None:
    run(*arguments.split())
    assert asked == [question]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("queues set mail", "nothing to change"),
        ("queues set mail --concurrency five", "'five' is no number (--concurrency)"),
        ("queues set mail --rate 100", "'100' is no rate (--rate): write starts/seconds, like 100/60"),
        ("queues set mail --rate-per-key x/60", "(--rate-per-key)"),
        ("queues set mail --rate 5/nan", "is no rate"),
        ("workflows submit nothing.json", "nothing.json"),
    ],
)
def test_what_is_not_understood_is_refused_before_anything_is_asked(
    run: Run, asked: Asked, arguments: str, words: str
) -> None:
    assert words in run(*arguments.split(), code=65)
    assert asked == []


def test_lists_show_what_matters(run: Run) -> None:
    text = run("queues", "list")
    assert "100/60 s" in text
    assert "mail" in text
    assert "noop" in run("handlers", "list")
    assert "more: --cursor abc" in run("workflows", "list")
    assert json.loads(run("queues", "list", "-o", "json"))["items"] == [MAIL]


def test_a_workflow_is_posted_from_a_file(run: Run, asked: Asked, tmp_path: Path) -> None:
    body = {"name": "night", "tasks": [{"ref": "a", "name": "demo"}]}
    (tmp_path / "night.json").write_text(json.dumps(body))
    run("workflows", "submit", "night.json")
    assert asked == [("POST /workflows", body)]
