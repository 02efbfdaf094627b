"""The executor's process: when it ends, what it can import, what it leaves alone."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from callboard.executor.frames import Broken, Deadline, Leave, Ping, Pong, Started
from callboard.executor.lease import boottime
from callboard.executor.outcomes import Outcome
from callboard.executor.start import WITHHELD, command
from tests.integration.executor.conftest import Start

ROOT = Path(__file__).parents[3]


def cpu(pid: int) -> int:
    """Voluntary and involuntary switches of all threads: how often it woke."""
    count = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        lines = (thread / "status").read_text().splitlines()
        count += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return count


def test_its_command_line_says_what_it_is() -> None:
    assert any("executor" in part for part in command(3, 4))


def test_it_leaves_when_told_to_after_its_last_outcomes(start: Start) -> None:
    node = start()
    ids = node.run("noop", *[{}] * 100)
    node.send(Leave())
    node.wait(lambda: len(node.ends) == len(ids))
    assert node.wait_gone(5)[0] == 0


def test_it_leaves_when_its_socket_closes(start: Start) -> None:
    node = start()
    node.run("thread", {"seconds": 30, "obedient": False})
    node.wait_for(Started)
    node.connection.close()
    code, took = node.wait_gone(5)
    assert code == 0
    assert took < 1


@pytest.mark.parametrize("name", ["hold", "sleeper"])
def test_the_kernel_kills_it_with_its_node_even_while_it_holds_the_cpu(start: Start, name: str) -> None:
    node = start()
    node.run(name, {"seconds": 30} if name == "hold" else {})
    time.sleep(0.1)  # a blocked executor can't say that it has begun
    node.close_lifeline()
    code, took = node.wait_gone(5)
    assert code == -signal.SIGKILL
    assert took < 0.5


def test_it_does_not_even_begin_without_a_node(start: Start) -> None:
    node = start(boot=False)
    node.close_lifeline()
    assert node.wait_gone(5)[0] in (0, -signal.SIGKILL)


def test_signals_are_for_the_node_to_answer(start: Start) -> None:
    node = start()
    for number in (signal.SIGINT, signal.SIGTERM):
        node.process.send_signal(number)
    node.send(Ping(1))
    node.wait_for(Pong)


def test_at_the_deadline_everything_stops_and_the_process_stays(start: Start) -> None:
    node = start(stop_after=0.3)
    node.send(Deadline(boottime() + 0.3))
    (async_, thread) = (node.run("sleeper", {})[0], node.run("thread", {"seconds": 9, "obedient": True})[0])
    began = time.monotonic()
    assert node.end(async_).seen == node.end(thread).seen == (Outcome.RELEASED, "Lease")
    assert 0.2 < time.monotonic() - began < 5
    (refused,) = node.run("noop", {})
    assert node.end(refused).seen == (Outcome.RELEASED, "Lease")
    with pytest.raises(TimeoutError):
        node.pump(time.monotonic() + 0.5)  # past the kernel's limit: all had stopped, so it was called off
    node.send(Deadline(boottime() + 5))
    (again,) = node.run("noop", {})
    assert node.end(again).kind is Outcome.SUCCEEDED


def test_a_renewed_deadline_moves(start: Start) -> None:
    node = start(stop_after=0.2)
    (id,) = node.run("nap", {"seconds": 0.8})
    for _ in range(5):
        node.send(Deadline(boottime() + 0.3))
        time.sleep(0.15)
    node.send(Deadline(boottime() + 5))
    assert node.end(id).body == "woke"


def test_without_a_lease_everything_stops(start: Start) -> None:
    node = start()
    node.send(Deadline(boottime() + 5))
    (id,) = node.run("sleeper", {})
    node.wait_for(Started)
    node.send(Deadline(None))
    assert node.end(id).seen == (Outcome.RELEASED, "Lease")
    (refused,) = node.run("noop", {})
    assert node.end(refused).seen == (Outcome.RELEASED, "Lease")


@pytest.mark.parametrize("name", ["hold", "thread"])
def test_the_kernel_enforces_the_deadline_against_a_handler_that_goes_on(start: Start, name: str) -> None:
    node = start(stop_after=0.3)
    node.send(Deadline(boottime() + 0.3))
    node.run(name, {"seconds": 30} if name == "hold" else {"seconds": 30, "obedient": False})
    began = time.monotonic()
    assert node.wait_gone(5)[0] == -signal.SIGALRM
    assert time.monotonic() - began > 0.4


def test_a_frozen_executor_ends_as_soon_as_it_thaws(start: Start) -> None:
    node = start(stop_after=0.1)
    node.send(Deadline(boottime() + 0.2))
    node.run("sleeper", {})
    node.send(Ping(1))
    node.wait_for(Pong)
    node.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    node.process.send_signal(signal.SIGCONT)
    code, took = node.wait_gone(5)
    assert code == -signal.SIGALRM
    assert took < 0.3


def test_an_idle_executor_sleeps(start: Start) -> None:
    node = start()
    (id,) = node.run("nap", {"seconds": 0.2})
    node.end(id)
    time.sleep(0.1)
    before = cpu(node.process.pid)
    time.sleep(1)
    assert cpu(node.process.pid) - before <= 1


def test_our_rooms_and_secrets_are_out_of_sight(start: Start, tmp_path: Path) -> None:
    node = start(environ={"CALLBOARD_USER_PATH": str(tmp_path), "CALLBOARD_TOKEN": "t", "DATABASE_URL": "u"})
    (id,) = node.run("where", {})
    found = node.end(id).body
    assert found["rooms"] == []
    assert found["callboard"] is True
    assert str(ROOT) not in found["path"]
    assert found["path"].index(str(tmp_path)) > max(
        index for index, entry in enumerate(found["path"]) if entry.endswith("site-packages")
    )
    assert (found["secrets"], found["input"]) == ([], "")
    ignored = int(found["signals_of_children"], 16)
    assert not ignored & (1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1)


def test_a_module_of_the_user_may_be_named_like_a_room_of_ours(start: Start, tmp_path: Path) -> None:
    (tmp_path / "storage.py").write_text("WHOSE = 'mine'\n")
    (tmp_path / "work.py").write_text(
        "import storage\nfrom callboard import task\n@task\nasync def whose() -> str:\n    return storage.WHOSE\n"
    )
    for environ in ({"CALLBOARD_USER_PATH": str(tmp_path)}, {"PYTHONPATH": str(tmp_path)}):
        node = start("work", environ=environ)
        (id,) = node.run("whose", {})
        assert node.end(id).body == "mine"


def test_a_file_may_shadow_nothing_of_the_standard_library(start: Start, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('a module of the user')\n")
    (tmp_path / "work.py").write_text("from callboard import task\n@task\nasync def fine() -> int:\n    return 1\n")
    node = start(str(tmp_path / "work.py"), environ={"CALLBOARD_USER_PATH": str(tmp_path)})
    (id,) = node.run("fine", {})
    assert node.end(id).body == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\ndef f(:\n", "app.py line 2): SyntaxError"),
        ("import nothing_of_this_name\n", "app.py line 1): ModuleNotFoundError"),
        ("\n\nraise SystemExit(3)\n", "app.py line 3): SystemExit"),
        (
            "from callboard import task\n\n@task(timeout=0)\ndef f(): ...\n",
            "app.py line 3): ValueError: timeout must be",
        ),
        (
            "from callboard import task\n@task\ndef f(): ...\n@task(name='f')\ndef g(): ...\n",
            "DuplicateHandler: two handlers are named 'f'",
        ),
    ],
)
def test_a_broken_app_is_told_with_file_and_line(start: Start, tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "app.py").write_text(source)
    node = start(str(tmp_path / "app.py"))
    assert words in node.wait_for(Broken).problem
    assert node.wait_gone(5)[0] == 78


def test_what_is_withheld_is_what_the_settings_call_secret() -> None:
    from api.settings_keys import KEYS

    secrets = {key.variable for key in KEYS.values() if key.secret}
    assert secrets | {"CALLBOARD_READY_FD", "CALLBOARD_LIFELINE_FD"} == set(WITHHELD)
