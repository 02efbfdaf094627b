"""The catalogue of bad input and the tests know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.catalogue import CATALOGUE

TESTS = Path(__file__).parents[1]


def marked() -> dict[str, list[str]]:
    """Id → tests that carry it, as a decorator or on one of their parameters."""
    found: dict[str, list[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for row in ids_of(node.decorator_list):
                    found.setdefault(row, []).append(f"{file.relative_to(TESTS)}::{node.name}")
    return found


def ids_of(decorators: list[ast.expr]) -> Iterator[str]:
    for call in (node for one in decorators for node in ast.walk(one)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "bad_input":
            for argument in call.args:
                assert isinstance(argument, ast.Constant), f"line {call.lineno}: ids are written out"
                yield str(argument.value)


def test_every_row_has_a_test() -> None:
    assert sorted(CATALOGUE.keys() - marked().keys()) == []


def test_every_marked_row_is_in_the_catalogue() -> None:
    assert {row: tests for row, tests in marked().items() if row not in CATALOGUE} == {}
