"""Where a cluster lives: its folders, its password, its socket, and who runs it now.

::

    DIR/                      what --data names
    ├── location.json         only if the server's user can't reach DIR: where the rest is instead
    └── postgres/             "home"
        ├── data/             the cluster (mode 0700)
        ├── password          of the superuser (0600)
        ├── server.log
        ├── restart           marker: this process id is being restarted by hand
        └── run/              the socket (0700), unless its path would be too long
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from actors.model.errors import ConfigurationError, StorageRefused
from storage.embedded.owner import STATE, Owner

PORT = 5432  # part of the socket's name; nothing listens on TCP
SOCKET = f".s.PGSQL.{PORT}"
_LONGEST = 107  # bytes of a socket's path


@dataclass(frozen=True, slots=True)
class PidFile:
    """What postmaster.pid says of the server of this cluster."""

    pid: int
    socket: Path
    ready: bool


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one cluster."""

    path: Path

    @property
    def cluster(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def password_file(self) -> Path:
        return self.path / "password"

    @property
    def restart_marker(self) -> Path:
        return self.path / "restart"

    @property
    def major(self) -> int | None:
        """The version that made the cluster; None when there is none yet."""
        try:
            return int((self.cluster / "PG_VERSION").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def url(self, sockets: Path) -> str:
        """Address with the password, for the socket in that folder."""
        try:
            password = self.password_file.read_text().strip()
        except PermissionError:
            raise StorageRefused(f"{self.password_file}: only its owner may read it; run as that user") from None
        return f"postgresql://postgres:{quote(password)}@/postgres?host={quote(str(sockets))}"

    def pid_file(self) -> PidFile | None:
        """None when there is no whole one."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
            return PidFile(int(lines[0]), Path(lines[4].strip()), len(lines) > 7 and lines[7].strip() == "ready")
        except PermissionError:
            raise StorageRefused(f"{self.cluster}: belongs to another user; run as the one who started it") from None
        except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
            return None

    def running(self) -> PidFile | None:
        """The live server of this cluster, whether it answers yet or not."""
        file = self.pid_file()
        return file if file is not None and self._is_ours(file.pid) else None

    def _is_ours(self, pid: int) -> bool:
        """A postmaster works in its cluster; a stranger that got the same process id does not."""
        try:
            return os.path.samefile(f"/proc/{pid}/cwd", self.cluster)
        except PermissionError:
            return Path(f"/proc/{pid}").exists()
        except OSError:
            return False

    def forget_stale_pid(self) -> None:
        """Removes a pid file whose process id a stranger has now: the server would refuse to start."""
        if self.pid_file() is None or self.running() is not None:
            return
        if not any(self._is_ours(int(name)) for name in os.listdir("/proc") if name.isdigit()):
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def sockets(self, owner: Owner) -> Path:
        """The folder for the socket, made if missing: ours, mode 0700, with a short enough path."""
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
        candidates = [self.path / "run"]
        if os.environ.get("XDG_RUNTIME_DIR") and owner.is_us:
            candidates.append(Path(os.environ["XDG_RUNTIME_DIR"], f"callboard-{name}"))
        candidates.append(Path("/tmp", f"callboard-{owner.uid}-{name}"))
        folder = next(one for one in candidates if len(os.fsencode(one / SOCKET)) <= _LONGEST)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            status = folder.lstat()
            if folder.is_symlink() or status.st_uid not in (owner.uid, os.geteuid()):
                raise StorageRefused(f"{folder}: belongs to somebody else; remove it") from None
        owner.take(folder, 0o700)
        return folder

    def remove_sockets(self, folder: Path) -> None:
        """After a stop: nothing of the socket is left."""
        for leftover in (folder / SOCKET, folder / f"{SOCKET}.lock"):
            leftover.unlink(missing_ok=True)
        if folder.exists() and not any(folder.iterdir()):
            shutil.rmtree(folder)


def find_home(data: Path) -> Home:
    """Where the cluster of this data folder is; makes nothing."""
    try:
        return Home(Path(json.loads((data / "location.json").read_text())["home"]))
    except (FileNotFoundError, NotADirectoryError):
        return Home(data / "postgres")
    except PermissionError:
        raise StorageRefused(f"{data}: belongs to another user; run as that user or choose another --data") from None
    except (ValueError, KeyError, TypeError):
        raise StorageRefused(f"{data / 'location.json'}: is damaged; it should name the folder of the data") from None


def make_home(data: Path, owner: Owner) -> Home:
    """The home of this data folder, made if missing, where `owner` can reach it."""
    try:
        data.mkdir(mode=0o700 if owner.is_us else 0o711, parents=True, exist_ok=True)
        home = find_home(data)
        if home.path.parent == data and not owner.reaches(data):
            home = _elsewhere(data)
        home.path.mkdir(mode=0o700 if owner.is_us else 0o711, parents=True, exist_ok=True)
        if not home.password_file.exists():
            _write_private(home.password_file, secrets.token_urlsafe(24))
    except OSError as error:
        raise ConfigurationError(
            [f'--data="{data}": {error.strerror} ({error.filename}); choose a folder that you may write to']
        ) from None
    return home


def _elsewhere(data: Path) -> Home:
    """A folder that the server's user can reach, recorded in the data folder."""
    if (data / "postgres" / "data").exists():
        raise StorageRefused(f"{data}: the server's user can't reach it any more; allow searching its parent folders")
    name = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:16]
    folder = STATE / "data" / name
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    (data / "location.json").write_text(json.dumps({"home": str(folder)}) + "\n")
    return Home(folder)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")


def running_url(data: Path) -> str | None:
    """The address of the server that runs in this data folder; None when none answers."""
    home = find_home(data)
    running = home.running()
    if running is None or not answers(running.socket):
        return None
    return home.url(running.socket)


def answers(sockets: Path, limit: float = 2.0) -> bool:
    """Whether a server takes connections: it asks for a password instead of saying that it is starting."""
    hello = b"user\0postgres\0database\0postgres\0\0"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(limit)
        try:
            connection.connect(str(sockets / SOCKET))
            connection.sendall(struct.pack("!ii", len(hello) + 8, 3 << 16) + hello)
            return connection.recv(1) == b"R"
        except OSError:
            return False
