"""Whether the user's modules can be imported, found out before anything starts, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import trio

from actors.model.errors import ConfigurationError
from api.settings import Settings, user_environment
from callboard.launcher import user_path

LIMIT = 60.0
# Runs isolated like an executor: imports each app and prints what went wrong with the last line of its own file.
_CHECK = """
import importlib, importlib.util, json, os, sys, traceback
sys.path[:0] = [part for part in sys.argv[1].split(os.pathsep) if part]
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
problems = []
for app in sys.argv[2:]:
    try:
        if app.endswith(".py") or "/" in app:
            path = os.path.abspath(app)
            sys.path.insert(0, os.path.dirname(path))
            name = os.path.splitext(os.path.basename(path))[0]
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(name, module)
            spec.loader.exec_module(module)
        else:
            importlib.import_module(app)
    except SyntaxError as error:
        problems.append([app, error.filename, error.lineno, f"{type(error).__name__}: {error.msg}"])
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
        last = frames[-1] if frames else None
        problems.append([app, last and last.filename, last and last.lineno, f"{type(error).__name__}: {error}"])
json.dump(problems, answer)
answer.close()
os._exit(0)
"""


async def check_apps(settings: Settings) -> None:
    """Raises ConfigurationError that names file and line of what can't be imported."""
    if not settings.app:
        return
    missing = [app for app in settings.app if _is_missing_file(app)]
    if missing:
        raise ConfigurationError(
            [f'--app="{app}": there is no such file; write the path of a Python file' for app in missing]
        )
    environ = os.environ
    command = [sys.executable, "-P", "-c", _CHECK, user_path(environ), *settings.app]
    with trio.move_on_after(LIMIT):
        result = await trio.run_process(
            command, stdin=subprocess.DEVNULL, capture_stdout=True, check=False, env=user_environment(environ)
        )
        _judge(result.returncode, result.stdout)
        return
    raise ConfigurationError([f"--app: importing {', '.join(settings.app)} takes more than {LIMIT:g} s; do less there"])


def _is_missing_file(app: str) -> bool:
    return (app.endswith(".py") or "/" in app) and not Path(app).is_file()


def _judge(code: int, output: bytes) -> None:
    try:
        problems = json.loads(output)
    except ValueError:
        raise ConfigurationError(
            [f"--app: importing it ended the process (exit code {code}); try: python -c 'import …'"]
        ) from None
    if problems:
        raise ConfigurationError(
            [
                f'--app="{app}"{f" ({file} line {line})" if file else ""}: {what}; correct it and start again'
                for app, file, line, what in problems
            ]
        )
