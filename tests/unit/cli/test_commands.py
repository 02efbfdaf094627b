"""Commands end with one line and the right code."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from actors.model.errors import ConfigurationError, RestartLimitReached, StorageRefused, StorageUnavailable
from api.cli.client import explain
from api.cli.exits import BAD_DATA, CommandFailed, say_error
from api.cli.main import main
from api.cli.tasks import read_args
from callboard.launcher import command, user_path


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("CALLBOARD_API_URL", "http://127.0.0.1:9")


@pytest.mark.bad_input("CL02", "CL04", "CL05", "CL06", "CL07")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], 2, "nonsense"),
        (["up", "--nope"], 2, "--nope"),
        (["tasks", "get"], 2, "ID"),
        (["tasks", "get", "abc"], 65, "no task id"),
        (["tasks", "list"], 69, "no Callboard answers (http://127.0.0.1:9)"),
        (["submit", "f", "--args", "[1]"], 65, "an array"),
        (["submit", "f", "--args", "{"], 65, "not JSON"),
        (["submit", "f", "--args", '{"x": NaN}'], 65, "NaN is not JSON"),
        (["submit", "f", "--args", '{"x": 1, "x": 2}'], 65, "twice"),
        (["submit", "f", "--args", '{"x": "\\u0000"}'], 65, "x: contains a NUL"),
        (["submit", "f", "--args", "@missing.json"], 65, "(missing.json): No such file"),
        (["submit", "f", "--args", "@."], 65, "Is a directory"),
        (["submit", "f", "--args", "@/dev/zero"], 65, "too large"),
        (["submit", "f", "--delay", "nan"], 2, "no number of seconds"),
        (["submit", "f", "--timeout", "inf"], 2, "no number of seconds"),
        (["submit", "f", "--wait-limit", "nan"], 2, "--wait-limit"),
        (["submit", "f", "--idempotency-key", "é"], 65, "--idempotency-key"),
        (["tasks", "list", "--token", "é"], 78, "--token"),
        (["tasks", "list", "--url", "ftp://x"], 78, '--url="ftp://x"'),
        (["worker", "--coordinator", "ftp://x"], 78, '--coordinator="ftp://x"'),
        (["up", "--workers", "x"], 78, '--workers="x"'),
        (["up", "--host", "0.0.0.0"], 78, "CALLBOARD_TOKEN"),
        (["tasks", "list", "--output", "xml"], 78, "table or json"),
        (["db", "url"], 69, "callboard up"),
        (["db", "restart"], 69, "callboard up"),
    ],
)
def test_a_failure_is_one_line_and_its_code(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert message in output.err


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--output", "json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"callboard", "python"}


def test_errors_in_groups_are_found_and_the_gravest_code_wins(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("x", [ExceptionGroup("y", [ConfigurationError(["a", "b"])]), CommandFailed("c", BAD_DATA)])
    assert say_error(group) == 78
    assert capsys.readouterr().err == "error: a\nerror: b\nerror: c\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(StorageRefused("x"), 78), (StorageUnavailable("x"), 69), (RestartLimitReached("x"), 70)],
)
def test_codes(error: Exception, code: int) -> None:
    assert say_error(error) == code


def test_an_unexpected_error_is_one_line_too_and_its_traceback_can_be_had(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say_error(ZeroDivisionError("x")) == 70
    assert capsys.readouterr().err.startswith("error: unexpected ZeroDivisionError: x")
    monkeypatch.setenv("CALLBOARD_LOG_LEVEL", "debug")
    assert say_error(ZeroDivisionError("x")) == 70
    assert "\nerror: unexpected" in capsys.readouterr().err


def test_arguments_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1}')
    assert read_args(f"@{tmp_path / 'a.json'}") == {"x": 1}
    assert read_args(None) == {}


def test_a_problem_document_becomes_one_line() -> None:
    problem = {"detail": "2 values are wrong", "errors": [{"field": "delay", "detail": "must not be negative"}]}
    text = explain(httpx.Response(422, json=problem), "/tasks")
    assert text == "2 values are wrong (/tasks, status 422): delay: must not be negative"
    twice = {"detail": "delay: is negative", "errors": [{"field": "delay", "detail": "is negative"}]}
    assert explain(httpx.Response(422, json=twice), "/tasks") == "delay: is negative (/tasks, status 422)"
    assert explain(httpx.Response(502, text="<html>"), "/tasks") == "Bad Gateway (/tasks, status 502)"


def test_node_processes_are_isolated_from_the_callers_folders(tmp_path: Path) -> None:
    assert command("node")[1:3] == ["-P", "-E"]
    folders = user_path({"PYTHONPATH": "/a:b"}).split(":")
    assert folders == [str(tmp_path), "/a", str(tmp_path / "b")]
    assert user_path({"PYTHONPATH": "/a", "CALLBOARD_USER_PATH": "/c"}) == "/c"
