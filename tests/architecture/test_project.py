"""The project's own promises: the published .env, the stop budget, what is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from api import up
from storage.embedded import server

ROOT = Path(__file__).parents[2]
OURS = {"actors", "api", "benchmarks", "callboard", "examples", "protos", "storage", "tests", "transport"}


def test_the_env_example_is_the_published_one() -> None:
    assert (ROOT / ".env.example").read_text() == (
        'DATABASE_URL="postgresql://postgres:admin@postgres:5432/postgres?schema=public"\n'
        'COORDINATOR_ADDRESS="http://localhost:8081"\n'
    )


def test_the_steps_of_a_stop_fit_into_five_seconds() -> None:
    assert up.DEFAULTS["drain"] + up.DEFAULTS["cancel_grace"] < up.WORKERS_LIMIT
    assert up.WORKERS_LIMIT + up.SERVER_LIMIT + up.POSTGRES_IMMEDIATE < up.STOP_LIMIT < 5
    assert server.IMMEDIATE_LIMIT == up.POSTGRES_IMMEDIATE


def test_the_wheel_puts_one_name_into_site_packages() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["callboard"]
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} - {"callboard"}
    assert wheel["force-include"] == {room: f"callboard/_rooms/{room}" for room in rooms}


def test_locks_pin_every_line_and_name_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        for line in (ROOT / name).read_text().splitlines():
            assert line.startswith("#") or re.fullmatch(r"[a-z0-9._-]+==[^\s]+", line), line


def test_every_pin_is_needed_and_every_need_is_pinned() -> None:
    runtime = _closure([*_declared(), *_declared("server"), *_declared("embedded")])
    assert _pins("requirements.lock") == runtime
    everything = _closure([*_declared(), *_declared("server"), *_declared("embedded"), *_declared("dev")])
    assert _pins("requirements-dev.lock") == everything - runtime


def test_what_is_imported_is_declared() -> None:
    client = {requirement.name for requirement in _declared()}
    nodes = client | {requirement.name for requirement in _declared("server")}
    developers = nodes | {requirement.name for requirement in _declared("dev")}
    assert _imported("callboard", deep=False) <= client
    assert _imported("callboard", "actors", "api", "protos", "storage", "transport") <= nodes
    assert _imported("tests", "benchmarks") <= developers


def _declared(extra: str = "") -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found = [Requirement(line) for line in lines]
    for requirement in found:
        requirement.name = canonicalize_name(requirement.name)
    return [requirement for requirement in found if requirement.name != "callboard"]


def _pins(lock: str) -> set[str]:
    lines = (ROOT / lock).read_text().splitlines()
    return {line.split("==")[0] for line in lines if not line.startswith("#")}


def _closure(roots: list[Requirement]) -> set[str]:
    """What pip installs for these, by what the installed packages say of themselves."""
    waiting, seen = [(root.name, frozenset(root.extras)) for root in roots], set[tuple[str, frozenset[str]]]()
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        for line in importlib.metadata.requires(wanted[0]) or []:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *wanted[1]}):
                waiting.append((canonicalize_name(need.name), frozenset(need.extras)))
    return {name for name, _ in seen}


def _imported(*folders: str, deep: bool = True) -> set[str]:
    """The distributions whose modules these folders import themselves."""
    modules = {
        name.split(".")[0]
        for folder in folders
        for file in (ROOT / folder).glob("**/*.py" if deep else "*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in _targets(node)
        if not (file.parent / f"{name}.py").exists()  # handlers and what they need are copied to one folder
    }
    homes = importlib.metadata.packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - OURS
    return {canonicalize_name(homes[module][0]) for module in foreign}


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
