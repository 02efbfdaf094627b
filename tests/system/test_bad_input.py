"""What people get wrong, with real processes: one message that names it and what would be right, one exit code."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.settings_keys import BY_VARIABLE
from callboard.launcher import USER_PATH, command
from tests.support.cluster import Cluster

LIMIT = 20.0  # seconds; nothing hangs
CONFIGURATION, UNAVAILABLE, BAD_DATA, USAGE = 78, 69, 65, 2


class Shell:
    """Runs `callboard` commands in a folder of the test's own, with no variable but those that are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain = {
            name: value
            for name, value in os.environ.items()
            if name not in BY_VARIABLE and not name.startswith("CALLBOARD_")
        } | {"XDG_DATA_HOME": str(folder / "home"), USER_PATH: str(folder)}

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*arguments), env={**self.plain, **variables}, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def refused(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """The exit code and the message; nothing was answered, and nobody is shown a traceback."""
        with self.start(*arguments, **variables) as process:
            try:
                out, err = process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert out == ""
        assert "Traceback" not in err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert errors, err
        return process.returncode, "\n".join(errors)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


PORTS = ("--http-port", "0", "--grpc-port", "0")


@pytest.mark.bad_input("CF13", "CF14")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", r"app\.py line 1\): SyntaxError"),
        ("\nimport nothing_of_this_name\n", r"app\.py line 2\): ModuleNotFoundError: .*nothing_of_this_name"),
        ("import sys\nsys.exit(3)\n", r"app\.py line 2\): SystemExit: 3"),
        (None, r"app\.py\": there is no such file"),
    ],
)
def test_an_app_that_can_not_be_imported_is_named_before_anything_starts(
    shell: Shell, text: str | None, message: str
) -> None:
    if text is not None:
        (shell.folder / "app.py").write_text(text)
    code, said = shell.refused("up", "--app", "app.py", "--data", str(shell.folder / "data"), *PORTS)
    assert code == CONFIGURATION
    assert re.search(message, said), said
    assert not (shell.folder / "data").exists()


def test_settings_files_and_variables_are_judged_together(shell: Shell) -> None:
    (shell.folder / ".env").write_text('DATABASE_URL="postgresql://me:hunter2@x\nNONSENSE\nCALLBOARD_SLOTS=x\n')
    code, said = shell.refused("api", "--http-port", "80x", CALLBOARD_LEESE="3", CALLBOARD_HEARTBEAT="5")
    assert code == CONFIGURATION
    for part in (
        ".env line 1", "quotes do not close", ".env line 2", 'CALLBOARD_SLOTS="x"', "from 1 to 10000",
        '--http-port="80x"', "did you mean CALLBOARD_LEASE?", "must be at most",
    ):  # fmt: skip
        assert part in said
    assert "hunter2" not in said


@pytest.mark.bad_input("CF21")
@pytest.mark.parametrize("role", ["scheduler", "coordinator", "api", "worker", "up"])
def test_an_open_bind_needs_a_token(shell: Shell, role: str) -> None:
    code, said = shell.refused(role, "--host", "0.0.0.0")
    assert code == CONFIGURATION
    assert "CALLBOARD_TOKEN" in said
    assert "CALLBOARD_INSECURE=1" in said


@pytest.mark.bad_input("CF10")
@pytest.mark.parametrize(
    ("role", "flag"), [("api", "--http-port"), ("coordinator", "--grpc-port"), ("worker", "--http-port")]
)
def test_a_taken_port_is_named_by_every_role(shell: Shell, empty_url: str, role: str, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        free = () if role == "worker" else ("--grpc-port" if flag == "--http-port" else "--http-port", "0")
        variables = {} if role == "worker" else {"DATABASE_URL": empty_url}
        code, said = shell.refused(role, flag, port, *free, **variables)
    assert code == CONFIGURATION
    assert port in said
    assert flag in said


@pytest.mark.bad_input("CF08")
def test_a_database_that_nobody_answers_for(shell: Shell) -> None:
    for host, why in (("127.0.0.1:9", "accepts connections"), ("nowhere.invalid", "host name")):
        url = f"postgresql://me:hunter2@{host}/x"
        code, said = shell.refused("db", "status", DATABASE_URL=url)
        assert (code, why in said, "hunter2" in said) == (UNAVAILABLE, True, False)
    code, said = shell.refused("up", *PORTS, DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/x")
    assert (code, "127.0.0.1:9" in said, "hunter2" in said) == (UNAVAILABLE, True, False)


def test_a_role_that_waits_for_its_database_can_be_stopped(shell: Shell) -> None:
    with shell.start("api", *PORTS, DATABASE_URL="postgresql://me@127.0.0.1:9/x") as process:
        assert process.stderr is not None
        while "waiting for the database" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(LIMIT) == 0


@pytest.mark.bad_input("CF08")
def test_a_wrong_database_and_an_unknown_role(shell: Shell, empty_url: str) -> None:
    wrong = empty_url.replace("/postgres?", "/nothing_of_this_name?")
    for arguments in (("api", *PORTS), ("db", "migrate"), ("up", "--workers", "1", *PORTS)):
        code, said = shell.refused(*arguments, DATABASE_URL=wrong)
        assert code == CONFIGURATION
        assert '"nothing_of_this_name" does not exist' in said
        assert "correct DATABASE_URL" in said
    code, said = shell.refused("db", "status", DATABASE_URL=empty_url.replace("postgres@", "stranger:hunter2@"))
    assert (code, "stranger" in said, "hunter2" in said) == (CONFIGURATION, True, False)


@pytest.mark.bad_input("CF16")
def test_a_data_folder_that_can_not_be_had(shell: Shell) -> None:
    (shell.folder / "file").write_text("")
    code, said = shell.refused("up", "--data", str(shell.folder / "file"), *PORTS)
    assert (code, "--data=" in said, "choose a folder" in said) == (CONFIGURATION, True, True)


async def test_bad_requests_leave_a_running_system_unharmed(shell: Shell, cluster: Cluster) -> None:
    server = await cluster.server()
    await cluster.worker("w", server)
    bodies: list[tuple[dict[str, Any] | bytes, int, str]] = [
        ({"name": "double", "prioritty": 1}, 422, "did you mean priority?"),
        ({"name": "double", "priority": "1"}, 422, "priority"),
        ({"name": "double", "args": {"x": "a\x00b"}}, 422, "args.x: contains a NUL"),
        ({"name": "double", "delay": -1}, 422, "delay"),
        ({"name": "double", "args": {"x": "y" * 10_000_000}}, 413, "too large"),
        (b'{"name": "double"', 400, "line 1, column"),
    ]
    for body, status, message in bodies:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = await cluster.http.post("tasks", headers={"Content-Type": "application/json"}, **content)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert message in answer.json()["detail"]
    assert (await cluster.get("tasks"))["items"] == []
    waiting = await cluster.post("tasks", {"name": "nobodys", "args": {}})
    assert waiting["state"] == "queued"
    assert "no worker has declared a handler named 'nobodys'" in waiting["notice"]
    _the_command_says_the_same(shell, str(cluster.http.base_url.copy_with(path="/")).rstrip("/"))
    async with httpx.AsyncClient() as client:
        ready = await client.get(str(cluster.http.base_url.copy_with(path="/readyz")))
    assert ready.status_code == 200


def _the_command_says_the_same(shell: Shell, url: str) -> None:
    (shell.folder / "large.json").write_text('{"x": "' + "y" * 10_000_000 + '"}')
    for arguments, code, message in (
        (("--args", '{"x": "\\u0000"}'), BAD_DATA, "NUL"),
        (("--args", "@large.json"), BAD_DATA, "too large"),
        (("--delay", "-1"), BAD_DATA, "delay"),
        (("--delay", "soon"), USAGE, "--delay"),
        (("--priority", "9"), BAD_DATA, "priority"),
        (("--idempotency-key", ""), BAD_DATA, "Idempotency-Key"),
    ):
        ended, said = shell.refused("submit", "double", *arguments, CALLBOARD_API_URL=url)
        assert (ended, message in said, said.count("\n")) == (code, True, 0), said
