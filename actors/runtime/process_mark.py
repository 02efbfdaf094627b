"""What a node says of its own process, so that somebody on the same machine can be sure to have found it.

A process id alone names another process after a restart, in another container and on another machine.
The mark is the same only for the same process seen from the same PID namespace of the same boot.
"""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path
from typing import Any

_START = 19  # field of /proc/PID/stat behind the name: when the process started, in ticks since the boot


@cache
def this_process() -> dict[str, Any]:
    """`host`, `pid` and `process`, the mark; that one is None where there is no /proc."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "process": mark(os.getpid())}


def mark(pid: int) -> str | None:
    """Twelve hexadecimal digits for the process that has this id here and now; None when there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = os.readlink("/proc/self/ns/pid")
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START]
    except (OSError, IndexError):
        return None
    return hashlib.sha256(f"{boot} {namespace} {pid} {started}".encode()).hexdigest()[:12]
