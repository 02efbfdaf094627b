"""The handlers of `callboard demo`: one task reads one module of the standard library, the last one merges."""

from __future__ import annotations

import ast
import io
import time
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from callboard import task

TOP = 10
COUNTED = ("lines", "code", "comments", "functions", "classes", "branches")
_PAGE = 200
_BLANK = frozenset(
    {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@task(retries=3, timeout=60)
def analyse(path: str, module: str) -> dict[str, Any]:
    """Lines, functions, classes, the longest function and the imports of one file."""
    source = Path(path).read_bytes()
    tree = ast.parse(source, path)
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, _Function)]
    longest = max(functions, key=_length, default=None)
    return {
        "module": module,
        **count_lines(source),
        "functions": len(functions),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
        "branches": sum(isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.match_case) for node in nodes),
        "longest": longest and {"name": longest.name, "line": longest.lineno, "lines": _length(longest)},
        "imports": sorted(set(imports(nodes))),
    }


def _length(function: _Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def count_lines(source: bytes) -> dict[str, int]:
    """All lines, and those that hold code or only a comment."""
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in _BLANK:
            code.update(range(token.start[0], token.end[0] + 1))
    return {"lines": len(source.splitlines()), "code": len(code), "comments": len(comments - code)}


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Top-level names of the modules that are imported; relative ones are its own package's."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@task(retries=3, timeout=60)
async def merge_report(url: str, tag: str, expected: int) -> dict[str, Any]:
    """Fetches the results of all tasks with this tag from the HTTP API and merges them."""
    began = time.monotonic()
    results = []
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=10, trust_env=False) as client:
        query: dict[str, str | int] = {"tag": tag, "name": "analyse", "state": "succeeded", "limit": _PAGE}
        while True:
            page = (await client.get("/tasks", params=query)).raise_for_status().json()
            results += [task["result"] for task in page["items"]]
            if not page["next_cursor"]:
                break
            query["cursor"] = page["next_cursor"]
    if len(results) != expected:
        raise RuntimeError(f"{expected} results were announced and {len(results)} are there")
    return {**merge(results), "seconds": round(time.monotonic() - began, 3)}


def merge(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One report from the results of all files."""
    totals: Counter[str] = Counter()
    importers: Counter[str] = Counter()
    longest = []
    for result in results:
        totals["files"] += 1
        totals.update({name: result[name] for name in COUNTED})
        importers.update(result["imports"])
        if result["longest"]:
            longest.append({"module": result["module"], **result["longest"]})
    longest.sort(key=lambda one: (-one["lines"], one["module"]))
    ranked = sorted(importers.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "totals": dict(totals),
        "longest_functions": longest[:TOP],
        "most_imported": [{"module": name, "files": count} for name, count in ranked[:TOP]],
    }
