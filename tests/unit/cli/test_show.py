"""What commands print, where a program reads it."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from api.cli import show


def test_columns_that_are_empty_in_every_row_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"id": "1", "worker": None, "queues": []}, {"id": "2", "worker": "w", "queues": []}]
    show.table(rows, ("id", "queues", "worker"), empty="nothing")
    assert capsys.readouterr().out == "id  worker\n1   –\n2   w\n"


def test_an_error_and_its_traceback_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"type": "ValueError", "message": "no [bold]", "traceback": "Traceback:\n  File x\n"}
    show.record({"id": "1", "error": error, "result": None, "progress": {"done": 1, "total": 3, "message": None}})
    assert capsys.readouterr().out.splitlines() == [
        "id        1",
        "error     ValueError: no [bold]",
        "          Traceback:",
        "            File x",
        "progress  1 of 3",
    ]


def test_long_results_are_not_broken_into_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show.record({"result": "x" * 1_000})
    assert capsys.readouterr().out == f"result  {'x' * 1_000}\n"


@pytest.mark.bad_input("CL14")
def test_on_a_narrow_terminal_names_stay_and_roomy_columns_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "console", lambda: Console(width=30, highlight=False))
    rows = [{"id": "1" * 14, "name": "thumbnail", "state": "succeeded", "tries": 7}]
    show.table(rows, ("id", "name", "state", "tries"), empty="", roomy=("tries",))
    lines = capsys.readouterr().out.splitlines()
    assert "tries" not in lines[0]
    assert "thumb" in lines[1]
