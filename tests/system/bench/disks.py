"""Small disks: a folder of PostgreSQL's on a file system that can be filled. For root on Linux only."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.support.postgres import Server


@cache
def missing() -> str | None:
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    with tempfile.TemporaryDirectory() as name:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", name], capture_output=True).returncode:
            return "this machine mounts no tmpfs"
        subprocess.run(["umount", name], check=True)
    return None


class SmallDisk:
    """Holds one subfolder of a server's data. The server must be stopped meanwhile."""

    def __init__(self, server: Server, subfolder: str, size: int) -> None:
        self._mount = Path(tempfile.mkdtemp(prefix="cb-disk-"))
        self._mount.chmod(0o755)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self._mount)]
        subprocess.run(command, check=True, capture_output=True)
        atexit.register(self.unmount)
        home, there = server.data / subfolder, self._mount / subfolder
        subprocess.run(["cp", "-a", home, there], check=True)
        shutil.rmtree(home)
        home.symlink_to(there)

    @property
    def _filler(self) -> Path:
        return self._mount / "filler"

    def fill(self) -> int:
        """To the last byte; how many it took."""
        written = 0
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        written += file.write(b"\0" * size)
                except OSError:
                    pass  # no room for so much
        return written

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self._mount)], capture_output=True)
        shutil.rmtree(self._mount, ignore_errors=True)
