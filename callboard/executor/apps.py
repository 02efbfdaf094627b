"""Imports the user's modules and says, file and line, what is wrong with one that can't be imported.

Used by executors and, before anything starts, by the check of `--app`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from dataclasses import dataclass
from types import ModuleType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an app can't be imported."""

    app: str
    file: str | None
    line: int | None
    what: str

    def __str__(self) -> str:
        where = f" ({self.file} line {self.line})" if self.file else ""
        return f"{self.app}{where}: {self.what}"


def load_apps(apps: list[str]) -> list[Problem]:
    """Imports each: a module's name, or the path of a Python file."""
    return [problem for problem in map(load_app, apps) if problem is not None]


def load_app(app: str) -> Problem | None:
    """Imports one; None when that worked."""
    try:
        if is_file(app):
            _load_file(os.path.abspath(app))
        else:
            importlib.import_module(app)
    except SyntaxError as error:
        return Problem(app, error.filename, error.lineno, f"{type(error).__name__}: {error.msg}")
    except (Exception, SystemExit) as error:
        file, line = _last_line(error)
        return Problem(app, file, line, f"{type(error).__name__}: {error}")
    return None


def is_file(app: str) -> bool:
    return app.endswith(".py") or "/" in app


def _load_file(path: str) -> ModuleType:
    """As `import` of its name would, from its own folder; a name that is taken stays whose it is."""
    folder, name = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    held = sys.modules.get(name)
    if held is not None and getattr(held, "__file__", None) == path:
        return held
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("this is no Python file; its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    ours = sys.modules.setdefault(name, module) is module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if ours:
            sys.modules.pop(name, None)
        raise
    return module


def _last_line(error: BaseException) -> tuple[str | None, int | None]:
    """Of the user's own code, if any of it was running."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith("<")]
    theirs = [one for one in frames if not one.filename.startswith(_OURS + os.sep)]
    return (theirs[-1].filename, theirs[-1].lineno) if theirs else (None, None)
