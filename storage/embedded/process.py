"""Making a cluster and starting its server process, as the account that owns it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

import trio

from actors.model.errors import StorageRefused
from storage.embedded.binaries import binaries, newest
from storage.embedded.home import PORT, Home
from storage.embedded.owner import Owner

_LOG_LIMIT = 5 << 20
# Nothing of our environment: PGDATA, PGPORT and the like would be obeyed.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class _Account(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[str | int]


async def initialise(home: Home, owner: Owner) -> None:
    """Makes the cluster beside its place and moves it there whole: half of one never counts."""
    fresh, secret = home.path / "data.new", home.path / "password.new"
    for leftover in (fresh, home.cluster):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    owner.take(fresh, 0o700)
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(home.password_file.read_text())
    owner.take(secret, 0o600)
    command = [
        str(binaries(newest(), owner) / "initdb"), "--pgdata", str(fresh), "--username", "postgres",
        "--pwfile", str(secret), "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
    ]  # fmt: skip
    try:
        result = await trio.run_process(
            command, check=False, capture_stdout=True, capture_stderr=True, env=_ENVIRONMENT, cwd="/", **_as(owner)
        )
    finally:
        secret.unlink(missing_ok=True)
    if result.returncode != 0:
        detail = result.stderr.decode(errors="replace").strip().splitlines()
        shutil.rmtree(fresh, ignore_errors=True)
        raise StorageRefused(f"{home.path}: initdb failed: {'; '.join(detail[-3:])}")
    fresh.rename(home.cluster)


async def start(home: Home, owner: Owner, sockets: Path) -> trio.Process:
    if home.log.exists() and home.log.stat().st_size > _LOG_LIMIT:
        home.log.replace(home.log.with_suffix(".log.1"))
    command = [str(binaries(home.major or newest(), owner) / "postgres"), "-D", str(home.cluster)]
    for name, value in _options(sockets).items():
        command += ["-c", f"{name}={value}"]
    with home.log.open("ab") as output:
        # A process group of its own: Ctrl-C in our terminal must not reach it.
        return await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_ENVIRONMENT, cwd="/",
            process_group=0, **_as(owner),
        )  # fmt: skip


def _as(owner: Owner) -> _Account:
    return {} if owner.is_us else {"user": owner.uid, "group": owner.gid, "extra_groups": []}


def _options(sockets: Path) -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "port": str(PORT),
        "cluster_name": "callboard",
        "max_connections": "100",
        "shared_buffers": f"{max(32, min(512, memory // 8))}MB",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
        "max_parallel_workers_per_gather": "0",  # short statements; workers would take cores from tasks
        "autovacuum_naptime": "15s",  # the task table changes faster than the default minute
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def last_lines(file: Path, count: int = 3) -> str:
    try:
        lines = file.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    except OSError:
        return "(no log)"
    return "; ".join(lines[-count:])
