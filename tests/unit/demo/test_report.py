"""What is printed: lines without a terminal, clean JSON, every number of the table."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from api.demo_judge import judge
from api.demo_report import LiveView, PlainView, View, open_view, show
from tests.unit.demo.test_judge import a_run

REPORT = {
    "totals": {"files": 4, "lines": 1000, "functions": 20, "classes": 3},
    "longest_functions": [{"module": "box", "name": "open", "line": 1, "lines": 400}],
    "most_imported": [{"module": "os", "files": 4}],
    "seconds": 0.2,
}
WORKERS = [{"name": "w1", "state": "alive", "running": 3, "slots": 10}]


def test_without_a_terminal_progress_is_a_line_for_each_tenth() -> None:
    console = Console(file=io.StringIO(), width=200)
    view = PlainView(console)
    for done in range(101):
        view.update(done, 100, WORKERS)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 10
    assert "w1 alive (3)" in lines[0]


def test_on_a_terminal_events_stay_and_progress_goes() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, highlight=False)
    with LiveView(console) as view:
        view.update(5, 10, WORKERS)
        view.event("killed [w1]")
    assert isinstance(console.file, io.StringIO)
    assert "5 of 10" in console.file.getvalue()
    assert "killed [w1]" in console.file.getvalue()


def test_beside_json_nothing_else_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    view = open_view("json")
    assert type(view) is View
    view.event("starting")
    show({**judge(a_run()), "report": REPORT}, "json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is True
    assert facts["report"] == REPORT


def test_the_table_has_the_numbers_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    show({**judge(a_run()), "report": REPORT}, "table")
    out = capsys.readouterr().out
    for part in ("w1-aa", "75.0%", "killed", "5, of which 1 lost", "2.50 s for 1 tasks", "box.open", "400"):
        assert part in out
    assert "Every one of the 4 tasks succeeded" in out


def test_problems_are_said_last(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {**judge(a_run()), "ok": False, "problems": ["1 tasks are failed"], "report": None}
    show(facts, "table")
    assert capsys.readouterr().out.rstrip().endswith("1 tasks are failed")
