"""`callboard doctor`, as a person or a script runs it."""

from __future__ import annotations

import json

import pytest

from api.cli.main import main
from tests.support.postgres import Server


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_ENV_FILE", "")
    monkeypatch.setenv("CALLBOARD_CONFIG", "")


def test_warnings_do_not_fail(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_server.url("doctor_command"))
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "fsync is off" in told
    assert "callboard db migrate" in told
    assert main(["doctor", "--output", "json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {one["check"] for one in findings} >= {"connection", "writes", "schema", "notifications"}
    assert {one["status"] for one in findings} == {"ok", "warning"}


def test_a_database_that_does_not_answer_fails_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x")
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "start PostgreSQL" in told
    assert "secret" not in told
