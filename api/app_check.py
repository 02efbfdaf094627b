"""Whether the user's modules can be imported, found out before anything starts, by a process like an executor."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import trio

from actors.model.errors import ConfigurationError
from actors.model.wrong import printable
from api.settings import Settings, user_environment
from callboard.executor.apps import is_file
from callboard.executor.start import check_command, environment

LIMIT = 60.0


async def check_apps(settings: Settings) -> None:
    """Raises ConfigurationError that names file and line of what can't be imported."""
    if not settings.app:
        return
    missing = [app for app in settings.app if _is_missing_file(app)]
    if missing:
        raise ConfigurationError(
            [f'--app="{app}": there is no such file; write the path of a Python file' for app in missing]
        )
    command = check_command(settings.app)
    with trio.move_on_after(LIMIT):
        result = await trio.run_process(
            command,
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            check=False,
            env=environment(user_environment(os.environ)),
        )
        _judge(result.returncode, result.stdout)
        return
    raise ConfigurationError([f"--app: importing {', '.join(settings.app)} takes more than {LIMIT:g} s; do less there"])


def _is_missing_file(app: str) -> bool:
    return is_file(app) and not Path(app).is_file()


def _judge(code: int, output: bytes) -> None:
    try:
        problems = json.loads(output)
    except ValueError:
        raise ConfigurationError(
            [f"--app: importing it ended the process (exit code {code}); try: python -c 'import …'"]
        ) from None
    if problems:
        raise ConfigurationError([_line(*problem) for problem in problems])


def _line(app: str, file: str | None, line: int | None, what: str) -> str:
    where = f" ({file} line {line})" if file else ""
    return f'--app="{app}"{where}: {printable(what)}; correct it and start again'
