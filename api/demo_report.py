"""What the demo shows: live progress while it runs, tables or one JSON object at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

_STEP = 0.1  # without a terminal: one line for each such part of the work
_COLOURS = {"alive": "green", "lost": "red", "killed": "red", "closed": "dim", "gone": "dim"}


class View:
    """Shows nothing; what the others are asked for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def event(self, text: str) -> None:
        """Something happened that stays on the screen."""

    def update(self, done: int, total: int, workers: Sequence[Mapping[str, Any]]) -> None:
        """How far it is."""


class PlainView(View):
    """Lines."""

    def __init__(self, console: Console) -> None:
        self._console, self._said = console, 0.0

    def event(self, text: str) -> None:
        self._console.print(escape(text))

    def update(self, done: int, total: int, workers: Sequence[Mapping[str, Any]]) -> None:
        if done / total >= self._said + _STEP or done == total:
            self._said = done / total
            holding = ", ".join(f"{one['name']} {one['state']} ({one['running']})" for one in workers)
            self.event(f"  {done:4} of {total}   holding: {holding}")


class LiveView(View):
    """A bar and the workers, drawn over at each update; events scroll above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def event(self, text: str) -> None:
        self._console.print(escape(text))

    def update(self, done: int, total: int, workers: Sequence[Mapping[str, Any]]) -> None:
        self._live.update(progress(done, total, workers), refresh=True)


def open_view(output: str) -> View:
    """Lively on a terminal. Beside JSON, stdout stays clean and only a terminal on stderr is written to."""
    if output == "json":
        return LiveView(Console(stderr=True, highlight=False)) if sys.stderr.isatty() else View()
    if sys.stdout.isatty():
        return LiveView(Console(highlight=False))
    return PlainView(Console(highlight=False, width=200, soft_wrap=True))


def progress(done: int, total: int, workers: Sequence[Mapping[str, Any]]) -> Group:
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=total, completed=done, width=40), f"{done} of {total}")
    return Group(bar, workers_table(workers, ("name", "state", "running", "slots")))


def workers_table(workers: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(name)
    for worker in workers:
        grid.add_row(*(_cell(name, worker.get(name)) for name in columns))
    return grid


def _cell(name: str, value: Any) -> str:
    if name == "share":
        return f"{value:.1%}"
    text = escape(str(value))
    colour = _COLOURS.get(text) if name == "state" else None
    return f"[{colour}]{text}[/]" if colour else text


def show(facts: Mapping[str, Any], output: str) -> None:
    """The end of the demo."""
    if output == "json":
        print(json.dumps(facts, ensure_ascii=False, indent=2), flush=True)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print()
    console.print(workers_table(facts["workers"], ("name", "id", "state", "tasks", "share")))
    console.print()
    console.print(_summary(facts))
    if facts["report"]:
        _show_report(console, facts["report"])
    console.print()
    if facts["ok"]:
        console.print(f"[green]Every one of the {facts['tasks']} tasks succeeded, with one accepted outcome each.[/]")
    for problem in facts["problems"]:
        console.print(f"[red]{escape(problem)}[/]")


def _summary(facts: Mapping[str, Any]) -> Table:
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold")
    grid.add_column()
    for name, text in _lines(facts):
        grid.add_row(name, escape(text))
    return grid


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    otherwise = ", ".join(f"{count} {outcome}" for outcome, count in facts["attempts_ended_otherwise"].items())
    failover = facts["failover"]
    lines = [
        ("tasks", f"{facts['succeeded']} of {facts['tasks']} succeeded in {facts['seconds']:.1f} s"),
        ("tasks/s", f"{facts['tasks_per_second']:.0f}, the failover included"),
        ("attempts", f"{facts['attempts']}" + (f", of which {otherwise}" if otherwise else "")),
        ("late outcomes refused", str(facts["refused_late_outcomes"])),
        ("lost workers", ", ".join(facts["lost_workers"]) or "none"),
    ]
    if failover is not None:
        lines += [
            ("killed", f"{failover['worker']} (process {failover['pid']}), which held {failover['held']} tasks"),
            ("its executors", f"{failover['executors']}, gone after {_after(failover['executors_gone_after'])}"),
            ("shown as lost", f"after {_after(failover['lost_after'])}"),
            (
                "kill to last new start",
                f"{_after(failover['seconds_to_last_new_start'])} for {failover['reassigned']} tasks",
            ),
        ]
    return lines


def _after(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f} s"


def _show_report(console: Console, report: Mapping[str, Any]) -> None:
    totals = report["totals"]
    console.print(
        f"\n[bold]The standard library[/]: {totals['files']} files, {totals['lines']:,} lines, "
        f"{totals['functions']:,} functions, {totals['classes']:,} classes; merged in {report['seconds']:.1f} s\n"
    )
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("", "right"), ("longest functions", "left"), ("lines", "right")):
        grid.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, justify in (("  most imported", "left"), ("files", "right")):
        grid.add_column(name, justify=justify)  # type: ignore[arg-type]
    for rank, (function, module) in enumerate(
        zip(report["longest_functions"], report["most_imported"], strict=False), start=1
    ):
        grid.add_row(
            str(rank), f"{function['module']}.{function['name']}", str(function["lines"]),
            f"  {module['module']}", str(module["files"]),
        )  # fmt: skip
    console.print(grid)
