"""The judge of histories shares no code with what it judges."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

JUDGE = Path(__file__).parents[1] / "check_history"


def test_the_judge_needs_itself_and_the_standard_library() -> None:
    files = sorted(JUDGE.glob("*.py"))
    assert files
    found = {name for file in files for name in _imported(ast.parse(file.read_text()))}
    mine = {name for name in found if name == "tests.check_history" or name.startswith("tests.check_history.")}
    assert mine
    assert {name.split(".")[0] for name in found - mine} <= sys.stdlib_module_names


def _imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    return names
