"""Memory limits for some processes, by a control group of the kernel's. For root on Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOTS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}  # version 1, 2
EMPTY_LIMIT = 5.0  # seconds until a group whose processes were moved away can be removed


@cache
def missing() -> str | None:
    """Why there can be no limit here."""
    if os.geteuid() != 0:
        return "control groups need root"
    try:
        MemoryLimit("probe", 2**30).lift()
    except OSError as error:
        return f"this machine lets nobody limit memory ({error.strerror})"
    return None


class MemoryLimit:
    """What processes take from now on counts, not what they have. Raises OSError where that can't be."""

    def __init__(self, name: str, most: int) -> None:
        root = next(one for one in ROOTS if one.is_dir())
        self._home, self._group = root, root / f"callboard-bench-{os.getpid()}-{name}"
        self._group.mkdir()
        try:
            (self._group / ROOTS[root]).write_text(str(most))
        except OSError:
            self._group.rmdir()
            raise

    def take_in(self, pids: Sequence[int]) -> None:
        for pid in pids:
            (self._group / "cgroup.procs").write_text(str(pid))

    def lift(self) -> None:
        """Who lives goes on without a limit."""
        end = time.monotonic() + EMPTY_LIMIT
        while True:
            for pid in (self._group / "cgroup.procs").read_text().split():
                with suppress(OSError):  # it has just ended
                    (self._home / "cgroup.procs").write_text(pid)
            try:
                return self._group.rmdir()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)


def preferred(pid: int) -> None:
    """The kernel kills this one first."""
    Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
