"""The live supervision tree: what runs, since when, how often it was restarted, and why."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

DEEPEST = 50  # levels of a tree that another process tells of itself
FOR_EVER = 1e10  # seconds


@dataclass(slots=True)
class TreeNode:
    """One actor, as `GET /api/v1/supervision` shows it. Written by its supervisor only."""

    name: str
    kind: str = "actor"  # "supervisor" for a branch
    state: str = "starting"  # starting, running, backing_off, stopped, gave_up
    since: float = field(default_factory=trio.current_time)  # of the present state
    restarts: deque[float] = field(default_factory=lambda: deque[float](maxlen=1000))  # within the window
    restarts_total: int = 0
    last_error: str | None = None
    depth: Callable[[], int] | None = None  # of its mailbox
    children: dict[str, TreeNode] = field(default_factory=dict)
    remote: dict[str, dict[str, Any]] = field(default_factory=dict)  # trees reported by other processes

    def child(self, name: str, kind: str = "actor") -> TreeNode:
        """A new child; a former one of the same name is replaced."""
        node = self.children[name] = TreeNode(name, kind)
        return node

    def forget(self, name: str) -> None:
        self.children.pop(name, None)

    def enter(self, state: str) -> None:
        self.state, self.since = state, trio.current_time()

    def as_json(self) -> dict[str, Any]:
        """What is shown; seconds for `uptime`, restarts within the window and in all."""
        return {
            "name": self.name,
            "kind": "supervisor" if self.children else self.kind,
            "state": self.state,
            "uptime": round(trio.current_time() - self.since, 3),
            "restarts": len(self.restarts),
            "restarts_total": self.restarts_total,
            "last_error": self.last_error,
            "mailbox": self.depth() if self.depth is not None else None,
            "children": [node.as_json() for node in list(self.children.values())] + list(self.remote.values()),
        }


def heard(text: str) -> dict[str, Any]:
    """A tree as another process tells it, in JSON. Raises ValueError when it is none: it will be shown to others."""
    try:
        tree = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is too deep") from None
    _check(tree, DEEPEST)
    return dict(tree)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _check(tree: object, levels: int) -> None:
    match tree:
        case {
            "name": str(), "kind": str(), "state": str(), "uptime": int() | float() as uptime,
            "restarts": int(), "restarts_total": int(), "children": list(children),
        } if levels and 0 <= uptime < FOR_EVER:  # fmt: skip
            for child in children:
                _check(child, levels - 1)
        case _:
            raise ValueError("it is no supervision tree")


def aged(tree: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """A tree that was told so long ago."""
    children = [aged(child, seconds) for child in tree["children"]]
    return {**tree, "uptime": round(tree["uptime"] + seconds, 3), "children": children}
