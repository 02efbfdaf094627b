"""The executor's process. Started by path, so that nothing of the user's is imported before the path is set."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """`run SOCKET LIFELINE` or `check APP…`."""
    parent = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    foreign = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:] = [entry for entry in sys.path if entry not in foreign]
    sys.path.insert(0, parent)  # found also where no installation put it on the path
    from callboard.executor import main as executor
    from callboard.executor.path import set_path

    sys.path.remove(parent)
    set_path(os.environ, parent)
    if sys.argv[1] == "run":
        executor.run(int(sys.argv[2]), int(sys.argv[3]))
    executor.check(sys.argv[2:])


if __name__ == "__main__":
    main()
