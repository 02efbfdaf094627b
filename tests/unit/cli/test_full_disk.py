"""Nobody takes what a command prints: it ends as it would have, and says no more than it can."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from api.cli import logs
from api.settings import load

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from api.cli import main
def write(arguments):
    for _ in range(2):
        try:
            print("a line for the log", file=sys.stderr)
        except OSError:
            pass
    return 0
main.main = write
main.run([])
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_that_nobody_takes_is_no_reason_to_end_with_another_code() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-E", "-c", PROGRAM], cwd=ROOT, stderr=full, stdout=full, timeout=30)
    assert done.returncode == 0


def test_a_server_without_descriptors_says_so_in_single_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    logs.set_up_logging(load({}, environ={}, files=False))
    logger = logging.getLogger("trio.serve_listeners")
    record = logging.LogRecord("trio.serve_listeners", logging.ERROR, "", 0, "EMFILE", (), (OSError, OSError(), None))
    try:
        assert logger.filter(record)
    finally:
        logger.removeFilter(logs._without_traceback)
    assert record.exc_info is None
