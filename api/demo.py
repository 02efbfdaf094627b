"""`callboard demo`: the whole system on real input, with a worker node killed in the middle.

It starts `callboard up` as anybody would, posts one task for each module file of Python's standard
library, kills a worker node, and judges afterwards what the tables say. Reads no `.env`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import trio

import callboard
from actors.model.errors import CallboardError
from api.cli.exits import CommandFailed
from api.demo_job import Api, Job, Module
from api.demo_report import View, open_view, show
from api.settings_keys import BY_VARIABLE
from callboard.launcher import USER_PATH, command
from storage.embedded.home import find_home

READY_LIMIT = 90.0  # the first start on a slow machine copies the server's binaries
JOB_LIMIT = 180.0
STOP_LIMIT = 10.0
_LEFT_OUT = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload", "_bundled"}
)


async def run_demo(data: Path | None, workers: int, output: str) -> int:
    """Exit code 0 only if every task succeeded with exactly one accepted outcome. Ctrl-C ends it cleanly."""
    view = open_view(output)
    interrupted = False
    exit_code = 1
    async with trio.open_nursery() as nursery:

        async def watch_signals(*, task_status: trio.TaskStatus[None]) -> None:
            nonlocal interrupted
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for _ in signals:
                    interrupted = True
                    nursery.cancel_scope.cancel("asked to stop")

        await nursery.start(watch_signals)
        exit_code = await _run(data, workers, output, view)
        nursery.cancel_scope.cancel("finished")
    return 128 + signal.SIGINT if interrupted else exit_code


async def _run(data: Path | None, workers: int, output: str, view: View) -> int:
    modules = find_modules()
    with _folder(data) as folder:
        view.event(f"Starting PostgreSQL, a server node and {workers} worker nodes …")
        began = trio.current_time()
        with view:
            async with open_system(folder, workers) as (url, pid):
                view.event(f"Ready after {trio.current_time() - began:.1f} s: {url}")
                async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=75, trust_env=False) as http:
                    facts = await _do(Job(Api(http), url, pid, modules, view))
    show(facts, output)
    return 0 if facts["ok"] else 1


async def _do(job: Job) -> dict[str, object]:
    with trio.move_on_after(JOB_LIMIT):
        try:
            return await job.run()
        except httpx.HTTPError as error:
            raise CommandFailed(f"the API failed in the middle of the demo: {type(error).__name__}: {error}") from None
    raise CommandFailed(f"the tasks are not done after {JOB_LIMIT:g} s: {job.standing()}")


def find_modules() -> list[Module]:
    """Every module file of this Python's standard library, its tests left out."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        found += [Module(str(path), _dotted(path.relative_to(root))) for path in _python_files(folder, files)]
    if not found:
        raise CommandFailed(f"no module files in {root}: the demo needs Python's standard library as files")
    return found


def _python_files(folder: str, files: list[str]) -> Iterator[Path]:
    return (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The given data folder, or one of its own that is gone afterwards."""
    if data is not None:
        yield data.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="callboard-demo-"))
    folder.chmod(0o711)  # as root, the server runs as another user and has to reach its part
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    try:
        home = find_home(folder).path
    except CallboardError:
        home = folder
    if folder not in home.parents:  # the server's user could not reach the folder
        shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def open_system(data: Path, workers: int) -> AsyncIterator[tuple[str, int]]:
    """`callboard up` on free ports: the address of its API and its process id. Stopped in every case."""
    await trio.Path(data).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            command(
                "up", "--app", "callboard.demo", "--workers", str(workers), "--data", str(data),
                "--http-port", "0", "--grpc-port", "0", "--output", "json",
            ),
            env=_environment(),
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,  # Ctrl-C reaches the demo alone, which then stops this in order
        )  # fmt: skip
        try:
            line = await _first_line(process)
            if line is None:
                raise CommandFailed(f"the system did not start: {_tail(errors.fileno())}")
            yield str(json.loads(line)["url"]), process.pid
        finally:
            await _stop(process)


def _environment() -> dict[str, str]:
    """Nothing of the user's configuration reaches the demo."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in BY_VARIABLE and not name.startswith("CALLBOARD_")
    }
    package = str(Path(callboard.__file__).resolve().parent.parent)
    return kept | {"CALLBOARD_ENV_FILE": "", "CALLBOARD_CONFIG": "", USER_PATH: package}


async def _first_line(process: trio.Process) -> bytes | None:
    """What it prints when it is ready; None when it ends or takes too long."""
    assert process.stdout is not None
    line = b""
    with trio.move_on_after(READY_LIMIT):
        while not line.endswith(b"\n"):
            part = await process.stdout.receive_some()
            if not part:
                await process.wait()
                return None
            line += part
        return line
    return None


async def _stop(process: trio.Process) -> None:
    """Asked first, then killed."""
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(STOP_LIMIT, shield=True):
            await process.wait()
    if process.poll() is None:
        process.kill()
        with trio.CancelScope(shield=True):  # a killed process ends at once
            await process.wait()
    if process.stdout is not None:
        with trio.move_on_after(0, shield=True):
            await process.stdout.aclose()


def _tail(errors: int) -> str:
    """The last lines that it wrote to stderr, as one."""
    size = os.lseek(errors, 0, os.SEEK_END)
    text = os.pread(errors, 2000, max(0, size - 2000)).decode(errors="replace")
    lines = [line.removeprefix("error: ") for line in text.strip().splitlines()[-5:]]
    return "; ".join(lines) or f"it said nothing within {READY_LIMIT:g} s; `callboard up` may show why"
