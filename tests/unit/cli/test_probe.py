"""The question that a container asks of its node."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from api.cli import probe
from api.cli.main import main
from api.settings import load
from callboard.launcher import command


class Node(BaseHTTPRequestHandler):
    """Lives, but is not ready."""

    def do_GET(self) -> None:
        ready = self.path == "/livez"
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b'{"detail": "the link is down"}')

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def node() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Node) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_ready_and_alive_are_different_questions(node: str) -> None:
    code, message = probe.ask([node])
    assert code == 1
    assert message == f'not well ({node}/readyz): status 503: {{"detail": "the link is down"}}'
    assert probe.ask([node], live=True) == (0, "")


def test_the_first_address_at_which_something_listens_answers(node: str) -> None:
    assert probe.ask(["http://127.0.0.1:9", node], live=True) == (0, "")
    code, message = probe.ask(["http://127.0.0.1:9"])
    assert code == 69
    assert "http://127.0.0.1:9" in message


def test_the_address_of_the_api_is_not_the_node_of_this_machine(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_API_URL", node)
    monkeypatch.setenv("CALLBOARD_HTTP_PORT", "9")
    assert probe.addresses(load()) == ["http://127.0.0.1:9"]
    assert main(["healthcheck", "--live"]) == 69
    assert main(["healthcheck", "--live", "--url", node]) == 0


def test_the_bare_command_loads_no_command_line(node: str, tmp_path: Path) -> None:
    launched = [command()[0], "-X", "importtime", *command()[1:]]
    port = node.rpartition(":")[2]
    done = subprocess.run(
        [*launched, "healthcheck", "--live"],
        env={"CALLBOARD_HTTP_PORT": port},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "api.settings" in loaded
    assert not {"typer", "httpx", "trio"} & loaded


def test_a_broken_setting_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        command("healthcheck"),
        env={"CALLBOARD_HTTP_PORT": "many"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 78
    assert done.stderr.startswith('error: CALLBOARD_HTTP_PORT="many"')
    assert sys.executable not in done.stderr
