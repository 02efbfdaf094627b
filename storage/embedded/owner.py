"""As whom the server runs. PostgreSQL refuses root, so root starts it as a user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

USER = "callboard"
STATE = Path("/var/lib/callboard")  # where root keeps what that user must reach


@dataclass(frozen=True, slots=True)
class Owner:
    """The account that owns the cluster."""

    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        return self.uid == os.geteuid()

    def take(self, path: Path, mode: int) -> None:
        """Gives a folder or file that we made to the account."""
        path.chmod(mode)
        if not self.is_us:
            os.chown(path, self.uid, self.gid)

    def reaches(self, folder: Path) -> bool:
        """Whether the account may search every folder down to this one; asks, and changes nothing."""
        if self.is_us:
            return True
        return all(self._may_search(part) for part in (folder, *folder.parents) if part.exists())

    def _may_search(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def server_owner() -> Owner:
    """Ourselves; for root the system user `callboard`, made when missing, else `nobody`."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid())
    for name in (USER, "nobody"):
        try:
            return _account(name)
        except KeyError:
            if name == USER and _add_user():
                return _account(name)
    return Owner(65534, 65534)


def _account(name: str) -> Owner:
    entry = pwd.getpwnam(name)
    return Owner(entry.pw_uid, entry.pw_gid)


def _add_user() -> bool:
    tool = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        return False
    nologin = shutil.which("nologin", path="/usr/sbin:/sbin") or "/bin/false"
    command = [tool, "--system", "--user-group", "--no-create-home", "--home-dir", str(STATE), "--shell", nologin, USER]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
