"""What people type, and what may answer them: one line, the right code, and never a secret or a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from api.cli import client, show
from api.cli.main import main
from callboard.launcher import command

LIMIT = 20.0
Answer = Callable[[BaseHTTPRequestHandler], None]
Say = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for name in [name for name in os.environ if name.startswith("CALLBOARD_")]:
        monkeypatch.delenv(name)


class Server(BaseHTTPRequestHandler):
    """Answers every request as the test says, and notes what it was asked."""

    answer: ClassVar[Answer]
    asked: ClassVar[list[tuple[str, str, dict[str, str]]]]

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        type(self).asked.append(
            (self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        try:
            type(self).answer(self)
        except (BrokenPipeError, ConnectionResetError):
            pass

    do_GET = do_POST = _any

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    handler = type("Handler", (Server,), {"answer": staticmethod(answer), "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def body(content: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def failed(say: Say, code: int, *arguments: str) -> str:
    """The one line that is said; nothing is printed."""
    assert main(list(arguments)) == code
    output = say.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert "unexpected" not in output.err
    return output.err


# --- what is typed --------------------------------------------------------------------------------


@pytest.mark.bad_input("CL01")
@pytest.mark.parametrize("group", [[], ["tasks"], ["workers"], ["db"]])
def test_without_a_command_the_help_is_the_message(capsys: Say, group: list[str]) -> None:
    assert main(group) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("Usage: callboard")
    assert "Commands:" in output.err


@pytest.mark.bad_input("CL02", "CL03", "CL16", "CL17")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submt", "f"], "Did you mean 'submit'?"),
        (["submit", "f", "--priorit", "1"], "--priority"),
        (["submit", "f", "--priority"], "requires an argument"),
        (["submit"], "'name'"),
        (["submit", "f", "g"], "unexpected extra argument"),
        (["submit", "f", "--priority", "high"], "--priority"),
        (["submit", "f", "--delay", "soon"], "--delay"),
        (["submit", "f", "--wait-limit", "-1"], "--wait-limit"),
        (["tasks", "list", "--limit", "0"], "--limit"),
        (["tasks", "list", "--limit", "-1"], "--limit"),
        (["tasks", "list", "--limit", "1001"], "--limit"),
        (["tasks", "list", "--since", "yesterday"], "--since"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_a_usage_error(capsys: Say, arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert output.err.count("\n") == 1


@pytest.mark.bad_input("CL03")
def test_an_option_that_is_there_twice_counts_as_it_was_last_written(capsys: Say) -> None:
    with serving(body(b'{"id": "1", "state": "queued"}', 201)) as (url, asked):
        assert main(["submit", "f", "--queue", "a", "--queue", "b", "--url", "http://127.0.0.1:9", "--url", url]) == 0
    assert len(asked) == 1


@pytest.mark.bad_input("CL06")
@pytest.mark.parametrize(
    "url",
    ["ftp://x", "127.0.0.1:8080", "http://", "http://127.0.0.1:0", "http://127.0.0.1:70000", "http://127.0.0.1:x",
     "file:///etc/passwd", "http://[::1", "//x", "javascript:alert(1)"],
)  # fmt: skip
def test_an_address_that_is_none_is_named(capsys: Say, url: str) -> None:
    assert f'--url="{url}" (command line): write http://HOST:PORT' in failed(capsys, 78, "tasks", "list", "--url", url)


@pytest.mark.bad_input("CL06")
def test_a_password_in_the_address_is_never_shown(capsys: Say) -> None:
    for url, code in (("http://me:hunter2@127.0.0.1:9", 69), ("http://me:hunter2@127.0.0.1:0", 78)):
        assert "hunter2" not in failed(capsys, code, "tasks", "list", "--url", url)
    with serving(body(b"<html>", 200, "text/html")) as (url, _):
        assert "hunter2" not in failed(capsys, 69, "tasks", "list", "--url", url.replace("//", "//me:hunter2@"))


@pytest.mark.bad_input("CL16")
def test_what_only_the_server_can_judge_is_told_in_its_words(capsys: Say) -> None:
    problem = {"detail": "run_at: 'yesterday' is not an RFC 3339 time", "errors": []}
    with serving(body(json.dumps(problem).encode(), 422, "application/problem+json")) as (url, _):
        said = failed(capsys, 65, "submit", "f", "--run-at", "yesterday", "--url", url)
    assert "run_at: 'yesterday' is not an RFC 3339 time" in said


@pytest.mark.bad_input("CL18")
def test_a_very_long_argument_is_shown_in_part(capsys: Say) -> None:
    long = "x" * 131_000
    assert len(failed(capsys, 65, "tasks", "get", long)) < 400
    assert len(failed(capsys, 78, "tasks", "list", "--url", long)) < 800
    assert len(failed(capsys, 65, "submit", "f", "--args", long)) < 400


@pytest.mark.bad_input("CL04")
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff", "not UTF-8"), (b"\xef\xbb\xbf{}", "not JSON"), (b"", "empty"), (b"{" * 2_000_000, "too large"),
     ('{"x": "é"}'.encode("latin-1"), "not UTF-8"), (b'{"x": 1e999}', "too large")],
)  # fmt: skip
def test_a_file_that_holds_no_arguments_is_named(capsys: Say, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    text = failed(capsys, 65, "submit", "f", "--args", "@a.json")
    assert "a.json" in text
    assert said in text


@pytest.mark.bad_input("CL15", "CF22")
def test_a_name_that_several_workers_have_is_not_guessed(capsys: Say) -> None:
    page = {"items": [{"id": "w-1", "name": "w"}, {"id": "w-2", "name": "w"}]}
    with serving(body(json.dumps(page).encode())) as (url, asked):
        said = failed(capsys, 1, "workers", "pause", "w", "--url", url)
    assert "w-1, w-2" in said
    assert [method for method, _, _ in asked] == ["GET"]


# --- what answers ---------------------------------------------------------------------------------


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.end_headers()
    while True:
        request.wfile.write(b" " * 65_536)


def broken_off(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"{")
    request.close_connection = True


@pytest.mark.bad_input("CL09")
@pytest.mark.parametrize(
    "answer",
    [body(b"<html>hello</html>", 200, "text/html"), body(b""), body(b"[]"), body(b"5"), body(b"null"), body(b"\xff"),
     body(b'{"items": ['), broken_off, endless, body(b"<html>", 502, "text/html"), body(b"[]", 500), body(b"5", 503)],
    ids=["html", "empty", "array", "number", "null", "latin", "cut", "broken off", "endless", "502", "500", "503"],
)  # fmt: skip
def test_an_answer_that_is_none_is_said_to_be_none(
    capsys: Say, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 1 << 20)
    with serving(answer) as (url, _):
        assert url in failed(capsys, 69, "tasks", "list", "--url", url) or answer not in (broken_off, endless)


@pytest.mark.bad_input("CL07")
def test_a_redirect_is_not_followed_with_the_token(capsys: Say) -> None:
    with serving(body(b"{}")) as (elsewhere, asked):
        with serving(body(b"", 302, Location=f"{elsewhere}/api/v1/tasks")) as (url, _):
            assert "302" in failed(capsys, 1, "tasks", "list", "--url", url, "--token", "sesame")
    assert asked == []


@pytest.mark.bad_input("CL10")
def test_a_submission_whose_answer_is_lost_tells_the_key_to_repeat_it_with(capsys: Say) -> None:
    with serving(broken_off) as (url, asked):
        said = failed(capsys, 69, "submit", "f", "--url", url)
        assert f"repeat it with --idempotency-key {asked[0][2]['idempotency-key']}" in said
        assert "--idempotency-key mine" in failed(capsys, 69, "submit", "f", "--idempotency-key", "mine", "--url", url)


@pytest.mark.bad_input("CL12")
def test_a_file_gets_no_colours_and_no_broken_lines(capsys: Say) -> None:
    show.table([{"id": "1", "name": "n" * 300, "state": "failed"}], ["id", "name", "state"], empty="")
    show.record({"state": "running", "error": {"type": "E", "message": "m", "traceback": None}})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "n" * 300 in out


@pytest.mark.bad_input("CL14")
def test_a_terminal_of_one_column_ends_no_command(capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1")
    monkeypatch.setenv("LINES", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    show.table([{"id": "1", "name": "a.b", "state": "failed"}], ["id", "name", "state"], empty="")
    show.record({"state": "running"})
    assert capsys.readouterr().out


# --- processes ------------------------------------------------------------------------------------


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(command(*arguments), env=environment, capture_output=True, timeout=LIMIT, **options)


@pytest.mark.bad_input("CL04")
def test_a_closed_stdin_is_named() -> None:
    done = run("submit", "f", "--args", "@-", preexec_fn=lambda: os.close(0))
    assert (done.returncode, b"stdin is closed" in done.stderr) == (65, True)


@pytest.mark.bad_input("CL10")
def test_an_interrupted_submission_tells_the_key_to_repeat_it_with() -> None:
    arrived = threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> None:
        arrived.set()
        request.rfile.read(1)  # until the client has left

    with serving(hang) as (url, asked):
        with subprocess.Popen(command("submit", "f", "--url", url), stderr=subprocess.PIPE) as process:
            assert arrived.wait(LIMIT)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert said.decode().startswith("error: the submission was interrupted")
    assert asked[0][2]["idempotency-key"] in said.decode()


@pytest.mark.bad_input("CL11")
def test_nobody_who_reads_is_no_error() -> None:
    page = {"items": [{"id": str(n), "name": "n" * 100, "state": "queued"} for n in range(1000)]}
    with serving(body(json.dumps(page).encode())) as (url, _):
        reader, writer = os.pipe()
        os.close(reader)
        with subprocess.Popen(
            command("tasks", "list", "--url", url), stdout=writer, stderr=subprocess.PIPE, restore_signals=False
        ) as process:
            os.close(writer)
            _, said = process.communicate(timeout=LIMIT)
    assert said == b""
    assert process.returncode in (1, 128 + signal.SIGPIPE)


@pytest.mark.bad_input("CL13", "CL12", "CL19")
def test_plain_letters_and_a_home_that_can_not_be_written_are_enough() -> None:
    plain = {"LANG": "C", "LC_ALL": "C", "TERM": "dumb", "HOME": "/proc/none", "XDG_DATA_HOME": "/proc/none"}
    page = {"items": [{"id": "1", "name": "größe…😀", "state": "queued"}]}
    with serving(body(json.dumps(page).encode())) as (url, _):
        for output in ("table", "json"):
            done = run("tasks", "list", "--url", url, "--output", output, env=plain)
            assert (done.returncode, done.stderr) == (0, b"")
            assert "größe…😀".encode() in done.stdout
            assert b"\x1b" not in done.stdout
