"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

_COLOURS = {
    "succeeded": "green", "running": "cyan", "assigned": "cyan", "failed": "red", "quarantined": "red",
    "fired": "green", "waiting": "cyan", "skipped": "yellow", "gap": "yellow",
    "cancelled": "yellow", "cancelling": "yellow", "expired": "yellow", "retrying": "yellow",
    "alive": "green", "lost": "red", "deaf": "red", "failing": "red", "suspect": "yellow",
    "draining": "yellow", "paused": "yellow", "backing_off": "yellow", "gave_up": "red",
}  # fmt: skip


_NARROW = 120  # letters
_LONG = frozenset({"name", "queue", "queues", "handlers", "detail", "way_out"})  # may take several lines
_NOTHING: tuple[Any, ...] = (None, [], {}, "")


def console() -> Console:
    """A width that does not break lines when nobody looks at a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)


def say(what: RenderableType) -> None:
    """Prints it; without the blanks that fill lines up where a program may read them."""
    to = console()
    if to.is_terminal:
        to.print(what)
        return
    with to.capture() as captured:
        to.print(what)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def as_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=None if isinstance(value, str) else 2))


def table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str, roomy: Collection[str] = ()
) -> None:
    """One line a row, without columns that are empty in all; `empty` is said when there is no row.

    The `roomy` columns are left out where the terminal is narrow.
    """
    if not rows:
        print(empty)
        return
    hidden = roomy if console().width < _NARROW else ()
    columns = [name for name in columns if name not in hidden and any(row.get(name) not in _NOTHING for row in rows)]
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(
            name.replace("_", " "), overflow="fold", no_wrap=name not in _LONG, min_width=8 if name in _LONG else None
        )
    for row in rows:
        grid.add_row(*(_cell(name, row.get(name)) for name in columns))
    say(grid)


def record(value: Mapping[str, Any]) -> None:
    """One line a field; fields without a value are left out."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, field in value.items():
        if field not in _NOTHING:
            grid.add_row(name.replace("_", " "), _whole(name, field))
    say(grid)


def pairs(title: str, rows: Mapping[str, str]) -> None:
    """A title, and words beside their names; words that are long take several lines."""
    if title:
        say(f"[bold]{escape(title)}[/bold]")
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows.items():
        grid.add_row(name, escape(text))
    say(grid)


def _whole(name: str, value: Any) -> str:
    """Where there is room for all of it: errors with their traceback, progress in words, health by its parts."""
    match value:
        case {"type": kind, "message": message, **rest} if name == "error":
            lines = [f"{kind}: {message}", *str(rest.get("traceback") or "").splitlines()]
            return escape("\n".join(lines))
        case {"done": done, "total": total, **rest} if name == "progress":
            note = f" ({rest['message']})" if rest.get("message") else ""
            return escape((f"{done} of {total}" if total is not None else str(done)) + note)
        case {"status": dict(status), **rest} if name == "health":
            facts = {**status, **rest}
            return escape("\n".join(f"{part.replace('_', ' ')}: {fact}" for part, fact in facts.items()))
        case _:
            return _cell(name, value)


def tree(node: Mapping[str, Any]) -> None:
    """A supervision tree with its restarts."""
    say(_branch(node))


def _branch(node: Mapping[str, Any]) -> Tree:
    branch = Tree(_node_line(node), guide_style="dim")
    for child in node.get("children") or ():
        branch.add(_branch(child))
    return branch


def _node_line(node: Mapping[str, Any]) -> str:
    parts = [f"[bold]{escape(str(node.get('name')))}[/bold]", _cell("state", node.get("state"))]
    if node.get("uptime") is not None:
        parts.append(f"[dim]{_span(float(node['uptime']))}[/dim]")
    if node.get("restarts_total"):
        parts.append(f"[yellow]{node['restarts_total']} restarts[/yellow]")
    if node.get("mailbox"):
        parts.append(f"mailbox {node['mailbox']}")
    if node.get("last_error"):
        parts.append(f"[red]{escape(str(node['last_error']))}[/red]")
    return "  ".join(parts)


def _cell(name: str, value: Any) -> str:
    match value:
        case None:
            return "[dim]–[/dim]"
        case bool():
            return "yes" if value else "no"
        case str() if name.endswith(("_at", "_seen")):
            return _ago(value)
        case str():
            text = escape(value)
            return f"[{_COLOURS[value]}]{text}[/]" if name == "state" and value in _COLOURS else text
        case list() if all(isinstance(one, str) for one in value):
            return escape(", ".join(value))
        case dict() | list():
            return escape(json.dumps(value, ensure_ascii=False))
        case _:
            return escape(str(value))


def _ago(text: str) -> str:
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(text.replace("Z", "+00:00"))).total_seconds()
    except (ValueError, TypeError):
        return escape(text)
    return f"{_span(age)} ago" if age >= 0 else f"in {_span(-age)}"


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, _ = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d"
