"""What may import what, in fresh processes: order and direction."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("actors", "transport", "storage", "api", "protos")


def run_fresh(code: str) -> str:
    """Runs code in a new interpreter that knows the repository; its output."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_contracts_between_rooms_hold() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]


@pytest.mark.parametrize("rooms", ["transport", "protos", "storage, transport", "actors.runtime.aio, transport"])
def test_grpclib_meets_the_loop_of_trio_asyncio_whichever_room_comes_first(rooms: str) -> None:
    """From 3.12 on grpclib binds asyncio.current_task when it is imported; it must be the patched one."""
    run_fresh(
        f"import {rooms}, grpclib.utils, grpclib.server, asyncio\n"
        "import trio, trio_asyncio\n"
        "from grpclib.utils import Wrapper\n"
        "async def inside():\n"
        "    with Wrapper():\n"  # asks for the current task, as every call does
        "        pass\n"
        "async def main():\n"
        "    async with trio_asyncio.open_loop():\n"
        "        await trio_asyncio.aio_as_trio(inside)()\n"
        "trio.run(main)\n"
    )


def test_user_code_loads_nothing_of_the_server() -> None:
    loaded = run_fresh("import callboard, callboard.executor; print(*sys.modules)").split()
    heavy = {"asyncpg", "grpclib", "quart", "hypercorn", "typer", "rich", "trio_asyncio", "pydantic"}
    assert not heavy & set(loaded)
    assert not {name for name in loaded if name.split(".")[0] in ROOMS}


def test_the_launcher_puts_our_rooms_before_the_users(tmp_path: Path) -> None:
    for name in ("api", "storage", "actors"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the user')\n")
    isolated = subprocess.run(
        [sys.executable, "-P", "-E", str(ROOT / "callboard" / "launcher.py"), "version"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert isolated.returncode == 0, isolated.stderr
    assert isolated.stdout.startswith("callboard ")


def test_asyncio_and_the_environment_stay_where_they_belong() -> None:
    """asyncio only at the two walls and the helper; os.environ only at the outer edge and in child processes."""
    allowed = {
        "asyncio": ("transport/", "storage/", "actors/runtime/aio.py", "callboard/executor/", "protos/"),
        "environ": ("api/", "callboard/", "storage/embedded/"),
    }
    found = []
    for room in (*ROOMS, "callboard"):
        for file in sorted((ROOT / room).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            used = _names(ast.parse(file.read_text()))
            found += [
                f"{name} uses {what}"
                for what, places in allowed.items()
                if what in used and not name.startswith(places)
            ]
    assert not found


def _names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").split(".")[0], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            names.add(node.attr)
    return names
