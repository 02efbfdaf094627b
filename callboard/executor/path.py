"""Where executors look for modules: Python's own, what is installed, then the user's folders. Not ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from callboard.launcher import USER_PATH


def set_path(environ: Mapping[str, str], package_parent: str) -> None:
    """Moves the user's folders behind the rest, and takes the folder of our rooms out.

    `package_parent` is the folder that holds `callboard`. In a checkout that is the repository, which an editable
    install puts on the path: there, `import storage` must not find our room of that name. Modules of `callboard`
    are found without it once the package is imported.
    """
    sys.path[:] = arranged(sys.path, user_folders(environ), package_parent, is_checkout(package_parent))


def arranged(path: Iterable[str], user: list[str], package_parent: str, checkout: bool) -> list[str]:
    """The new order."""
    taken = {*user, *([package_parent] if checkout else [])}
    return [*(entry for entry in path if entry not in taken), *user]


def user_folders(environ: Mapping[str, str]) -> list[str]:
    """Those that the launcher took away from the node, and those that Python put on the path by itself."""
    found = [*environ.get(USER_PATH, "").split(os.pathsep), *environ.get("PYTHONPATH", "").split(os.pathsep)]
    return list(dict.fromkeys(os.path.abspath(part) for part in found if part))


def is_checkout(folder: str) -> bool:
    """Whether our rooms lie beside the package `callboard`."""
    return all(os.path.isdir(os.path.join(folder, *room)) for room in (("actors", "runtime"), ("api", "cli")))
