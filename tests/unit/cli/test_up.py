"""The supervisor of processes, with small stand-ins for nodes: order, limits, and what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

import api.processes
from actors.model.errors import ConfigurationError, RestartLimitReached
from api.app_check import check_apps
from api.processes import ChildRefused
from api.settings import Settings
from api.up import ADDRESS_FILE, Up, check_ports, read_address_file

# A node as its supervisor sees it: says ready, notes its signals in a file, ends as the test says.
NODE = """
import json, os, signal, sys, time
folder, name = os.environ["FOLDER"], os.environ.get("CALLBOARD_WORKER_NAME") or "x"
name = "server" if "api" in os.environ["CALLBOARD_ROLES"] else name
plan = open(os.path.join(folder, "plan-" + name)).read() if os.path.exists(os.path.join(folder, "plan-" + name)) else ""
def note(text):
    with open(os.path.join(folder, "notes"), "a") as file:
        file.write(f"{name} {text} {os.getpid()}\\n")
def stop(*_):
    note("stopped")
    if plan != "deaf":
        os._exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
if plan.isdigit():
    os._exit(int(plan))
with os.fdopen(int(os.environ["CALLBOARD_READY_FD"]), "w") as ready:
    ready.write(json.dumps({"http": 1111, "grpc": 2222}) + "\\n")
lifeline = int(os.environ["CALLBOARD_LIFELINE_FD"])
os.read(lifeline, 1)
note("orphaned")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "node.py").write_text(NODE)
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setattr(api.processes, "command", lambda *_: [sys.executable, str(tmp_path / "node.py")])
    with socket.socket(socket.AF_UNIX) as database:  # all that the supervisor asks of it is to accept
        database.bind(str(tmp_path / ".s.PGSQL.5432"))
        database.listen()
        yield tmp_path
    for pid in started(tmp_path):
        assert not Path(f"/proc/{pid}").exists(), "a child was left behind"


def settings(folder: Path, **changes: Any) -> Settings:
    base = Settings(data=folder, database_url=f"postgresql:///y?host={folder}", http_port=0, grpc_port=0, workers=2)
    return replace(base, roles=("scheduler", "coordinator", "api"), **changes)


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return [line.rsplit(" ", 1)[0] for line in file.read_text().splitlines()] if file.exists() else []


def started(folder: Path) -> list[int]:
    file = folder / "notes"
    return [int(line.rsplit(" ", 1)[1]) for line in file.read_text().splitlines()] if file.exists() else []


async def until(fact: Callable[[], bool], limit: float = 10) -> None:
    with trio.fail_after(limit):
        while not fact():
            await trio.sleep(0.02)


async def run(up: Up, body: Callable[[], Any]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up.run)
        await body()
        os.kill(os.getpid(), signal.SIGINT)


async def test_says_one_line_when_all_are_ready_and_stops_workers_before_the_server(folder: Path) -> None:
    said: list[dict[str, Any]] = []

    async def body() -> None:
        await until(lambda: bool(said))
        assert notes(folder)[0] == "server started"
        assert sorted(notes(folder)[1:]) == ["worker-1 started", "worker-2 started"]
        found = read_address_file(folder)
        assert found is not None
        assert found["url"] == "http://127.0.0.1:1111"

    await run(Up(settings(folder), said.append), body)
    assert len(said) == 1
    assert said[0]["grpc"] == "http://127.0.0.1:2222"
    stops = [line for line in notes(folder) if line.endswith("stopped")]
    assert sorted(stops[:2]) == ["worker-1 stopped", "worker-2 stopped"]
    assert stops[2] == "server stopped"
    assert not (folder / ADDRESS_FILE).exists()


async def test_a_child_that_dies_is_started_again_alone(folder: Path) -> None:
    said: list[dict[str, Any]] = []

    async def body() -> None:
        await until(lambda: bool(said))
        victim = started(folder)[notes(folder).index("worker-2 started")]
        os.kill(victim, signal.SIGKILL)
        await until(lambda: notes(folder).count("worker-2 started") == 2)
        assert notes(folder).count("worker-1 started") == 1
        assert notes(folder).count("server started") == 1

    await run(Up(settings(folder), said.append), body)


async def test_exit_78_is_never_restarted(folder: Path) -> None:
    (folder / "plan-worker-1").write_text("78")
    with pytest.RaisesGroup(ChildRefused, flatten_subgroups=True):
        await Up(settings(folder), lambda _: None).run()
    assert notes(folder).count("worker-1 started") == 1
    assert notes(folder)[-1] == "server stopped"


async def test_a_child_that_was_never_ready_is_not_started_again(folder: Path) -> None:
    (folder / "plan-server").write_text("1")
    with pytest.RaisesGroup(pytest.RaisesExc(ChildRefused, match="never ready; exit code 1"), flatten_subgroups=True):
        await Up(settings(folder), lambda _: None).run()
    assert notes(folder) == ["server started"]


async def test_gives_up_on_a_child_that_keeps_dying(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.processes, "CRASHES", 2)
    said: list[dict[str, Any]] = []
    up = Up(settings(folder), said.append)
    with pytest.RaisesGroup(RestartLimitReached, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up.run)
            await until(lambda: bool(said))
            (folder / "plan-worker-1").write_text("1")
            os.kill(started(folder)[notes(folder).index("worker-1 started")], signal.SIGKILL)
    assert notes(folder).count("worker-1 started") == api.processes.CRASHES + 1


async def test_a_second_signal_waits_for_nobody(folder: Path) -> None:
    (folder / "plan-worker-1").write_text("deaf")
    said: list[dict[str, Any]] = []
    up = Up(settings(folder), said.append)

    async def body() -> None:
        await until(lambda: bool(said))
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: "worker-1 stopped" in notes(folder))

    with trio.fail_after(2.5):
        await run(up, body)


async def test_a_signal_during_the_start_stops_it(folder: Path) -> None:
    async def body() -> None:
        await until(lambda: "server started" in notes(folder))

    await run(Up(settings(folder), lambda _: None), body)
    assert not (folder / ADDRESS_FILE).exists()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"--http-port={port} .*taken"):
            check_ports(Settings(data=tmp_path, http_port=port, grpc_port=0))
    with pytest.raises(ConfigurationError, match="no address of this machine"):
        check_ports(Settings(data=tmp_path, host="192.0.2.1", http_port=0, grpc_port=0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef f(:\n", r"app\.py line 2\): SyntaxError"),
        ("import nothing_of_this_name\n", r"app\.py line 1\): ModuleNotFoundError"),
        ("\n\nraise SystemExit(3)\n", r"app\.py line 3\): SystemExit"),
        ("import os\nos._exit(7)\n", "exit code 7"),
    ],
)
async def test_a_broken_app_is_named_with_file_and_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        await check_apps(Settings(app=(str(tmp_path / "app.py"),)))


async def test_apps_that_import_are_fine_whatever_they_print(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("")
    (tmp_path / "app.py").write_text("import neighbour\nprint('hello')\n")
    await check_apps(Settings(app=(str(tmp_path / "app.py"), "json")))
    with pytest.raises(ConfigurationError, match="no such file"):
        await check_apps(Settings(app=("missing.py",)))
