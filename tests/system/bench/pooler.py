"""PgBouncer between nodes and PostgreSQL: each transaction may get another connection of the server's."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import trio

from tests.support.postgres import Server

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
CONNECTIONS = 8  # of the server's, for all of its clients
LISTENS_LIMIT = 10.0  # seconds


def missing() -> str | None:
    return None if PROGRAM else "pgbouncer is not installed"


class Pooler:
    """Listens on a socket in a folder of its own."""

    def __init__(self, server: Server) -> None:
        assert PROGRAM is not None
        self.folder = Path(tempfile.mkdtemp(prefix="cb-pooler-"))
        self.socket = self.folder / ".s.PGSQL.5432"
        owner = pwd.getpwuid(server.data.stat().st_uid)
        self._config = self.folder / "pgbouncer.ini"
        self._config.write_text(
            f"[databases]\n* = host={server.folder} port=5432 user=postgres\n"
            f"[pgbouncer]\nunix_socket_dir = {self.folder}\nlisten_port = 5432\nlisten_addr =\n"
            f"pool_mode = transaction\nauth_type = any\nmax_client_conn = 500\ndefault_pool_size = {CONNECTIONS}\n"
        )
        self._user: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._user = ["-u", owner.pw_name]
        self.folder.chmod(0o755)
        self._process: trio.Process | None = None

    async def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        command = [str(PROGRAM), *self._user, str(self._config)]
        quiet = subprocess.DEVNULL
        self._process = await trio.lowlevel.open_process(command, stdin=quiet, stdout=quiet, stderr=quiet)
        with trio.fail_after(LISTENS_LIMIT):
            while not self.socket.exists():
                await trio.sleep(0.02)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def close(self) -> None:
        await self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
