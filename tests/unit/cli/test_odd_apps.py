"""Modules with handlers that misbehave while they are imported: judged by a process of their own, in bounded time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import trio

from actors.model.errors import ConfigurationError
from api import app_check
from api.app_check import check_apps
from api.settings import Settings


async def refused(app: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await check_apps(Settings(app=(str(app),)))
    return "\n".join(caught.value.problems)


@pytest.mark.bad_input("CF13")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_this", "nothing_like_this"),
        ("from callboard import task\n@task\ndef f(*args): ...", "*args"),
        ("from callboard import task\n@task(queue='a b')\ndef f(): ...", "queue"),
        ("from callboard import task\n@task(name='x')\ndef f(): ...\n@task(name='x')\nasync def g(): ...", "'x'"),
        ("from callboard import task\n@task\nclass C: ...", "C"),
        ("\0", "null"),
        ("\xff", "utf-8"),
        ("x = (" * 300, "app.py"),
        ("raise Exception('a\\nb\\x1b[31m')", "Exception"),
    ],
    ids=["import", "star", "option", "twice", "class", "NUL", "latin", "nested", "escapes"],
)
async def test_an_app_that_can_not_be_imported_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "app.py").write_bytes(text.encode("latin-1"))
    message = await refused(tmp_path / "app.py")
    assert said in message
    assert "\x1b" not in message


@pytest.mark.bad_input("CF14")
@pytest.mark.parametrize("call", ["sys.exit(3)", "os._exit(3)", "os.kill(os.getpid(), 9)"])
async def test_an_import_that_ends_the_process_is_told(tmp_path: Path, call: str) -> None:
    (tmp_path / "app.py").write_text(f"import os, sys\n{call}\n")
    assert "app" in await refused(tmp_path / "app.py")


@pytest.mark.bad_input("CF14")
async def test_an_import_that_never_returns_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_check, "LIMIT", 1.5)
    (tmp_path / "app.py").write_text("import time\nwhile True: time.sleep(1)\n")
    with trio.fail_after(10):
        assert "takes more than 1.5 s" in await refused(tmp_path / "app.py")


@pytest.mark.bad_input("CF14")
async def test_what_an_import_does_to_its_process_is_nothing_to_ours(tmp_path: Path) -> None:
    text = """
import os, sys, threading, time
for _ in range(200):
    sys.stdout.write("x" * 100_000)
    os.write(1, b"y" * 100_000)
os.chdir("/")
os.environ["HOME"] = "/elsewhere"
sys.setrecursionlimit(50_000)
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
"""
    (tmp_path / "app.py").write_text(text)
    before = os.getcwd(), os.environ.get("HOME"), threading.active_count()
    with trio.fail_after(20):
        await check_apps(Settings(app=(str(tmp_path / "app.py"),)))
    assert (os.getcwd(), os.environ.get("HOME")) == before[:2]


@pytest.mark.bad_input("CF14")
async def test_a_thread_that_never_ends_does_not_hold_up_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_check, "LIMIT", 5.0)
    (tmp_path / "app.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()\n"
    )
    with trio.fail_after(4):
        await check_apps(Settings(app=(str(tmp_path / "app.py"),)))
