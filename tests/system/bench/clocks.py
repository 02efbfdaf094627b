"""Wall clocks that are wrong, one process at a time: a shim that the C compiler makes here."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("skew.c")


@cache
def shim() -> Path | None:
    """The library; None where it can't be built."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    folder = Path(tempfile.mkdtemp(prefix="cb-clock-"))
    folder.chmod(0o755)  # the database runs as somebody else
    target = folder / "skew.so"
    built = subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", target, SOURCE], capture_output=True)
    return target if built.returncode == 0 else None


def missing() -> str | None:
    return None if shim() is not None else "no C compiler: wrong clocks can't be made"


class Clock:
    """The offset of those processes that were started with `environ`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.skew"
        self.set(0.0)
        self._file.chmod(0o644)

    @property
    def environ(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(shim()), "SKEW_FILE": str(self._file)}

    def set(self, seconds: float) -> None:
        """In one step, so that nobody reads half of it."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds}\n")
        fresh.rename(self._file)
