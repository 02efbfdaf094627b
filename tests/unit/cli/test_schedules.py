"""`callboard schedules …` against the HTTP application over a store in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.main import main

NIGHTLY = {
    "name": "nightly", "cron": "30 2 * * *", "every": None, "at": None, "timezone": "Europe/Berlin",
    "overlap": "skip", "paused": False, "last_slot_at": None, "next_slot_at": "2099-01-01T00:00:00Z",
    "task": {"name": "report"},
}  # fmt: skip
SLOT = {
    "id": "7", "slot_at": "2026-03-02T12:00:00Z", "kind": "nominal", "state": "skipped", "reason": "overlap: task 3",
    "task": None, "count": 1, "until": None, "dst": "",
}  # fmt: skip
ANSWERS = {
    "GET /schedules": {"items": [NIGHTLY, {**NIGHTLY, "cron": None, "every": 90.0}], "next_cursor": "abc"},
    "GET /schedules/nightly/slots": {"items": [SLOT], "next_cursor": None},
    "GET /schedules/nightly/preview": {
        "items": [{"slot_at": "2026-03-02T12:00:00Z", "local": "2026-03-02T13:00:00+01:00", "dst": "shifted",
                   "run_at": "2026-03-02T12:00:05Z", "skipped": None}],
        "next_cursor": None,
    },
}  # fmt: skip
Asked = list[tuple[str, Any]]
Run = Callable[..., str]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the commands ask of the API."""
    found: Asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        key = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        found.append((key, json.loads(request.content) if request.content else None))
        return httpx.Response(200, json=ANSWERS.get(key, NIGHTLY))

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
        assert main(["schedules", *arguments]) == code
        output = capsys.readouterr()
        return output.out if code == 0 else output.err

    return command


def test_a_list_shows_the_rule_in_a_few_words(run: Run) -> None:
    text = run("list")
    assert "30 2 * * *" in text
    assert "every 90 s" in text
    assert "more: --cursor abc" in text
    assert json.loads(run("list", "-o", "json"))["items"][0] == NIGHTLY


def test_put_says_what_was_given_and_nothing_else(run: Run, asked: Asked) -> None:
    run("put", "nightly", "report", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--args", '{"a": 1}')
    definition = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "task": {"name": "report", "args": {"a": 1}}}
    assert asked == [("PUT /schedules/nightly", definition)]
    run("put", "x", "report", "--every", "90", "--overlap", "skip", "--catch-up", "none", "--queue", "q")
    task = {"name": "report", "args": {}, "queue": "q"}
    assert asked[1][1] == {"every": 90.0, "overlap": "skip", "catch_up": "none", "task": task}
    run("put", "x", "--body", json.dumps(definition))
    assert asked[2][1] == definition


def test_put_refuses_what_it_does_not_understand(run: Run) -> None:
    assert "(TASK)" in run("put", "x", "--every", "90", code=65)
    assert "--body says all of it" in run("put", "x", "report", "--body", "{}", code=65)
    assert "not JSON" in run("put", "x", "--body", "{", code=65)
    assert "--from" in run("backfill", "x", code=2)


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["get", "nightly"], ("GET /schedules/nightly", None)),
        (["delete", "nightly"], ("DELETE /schedules/nightly", None)),
        (["pause", "nightly", "--reason", "a move"], ("POST /schedules/nightly/pause", {"reason": "a move"})),
        (["resume", "nightly"], ("POST /schedules/nightly/resume", None)),
        (["trigger", "nightly"], ("POST /schedules/nightly/trigger", None)),
        (["backfill", "n", "--from", "a", "--until", "b"], ("POST /schedules/n/backfill", {"from": "a", "until": "b"})),
    ],
)
def test_each_verb_is_one_question(run: Run, asked: Asked, arguments: list[str], question: tuple[str, Any]) -> None:
    run(*arguments)
    assert asked == [question]


def test_slots_and_preview_show_times_as_they_are(run: Run) -> None:
    assert "2026-03-02T12:00:00Z" in run("slots", "nightly")
    assert "overlap: task 3" in run("slots", "nightly")
    assert "shifted" in run("preview", "nightly", "--count", "3")
