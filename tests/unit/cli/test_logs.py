from __future__ import annotations

import json
import logging
import sys

from api.cli.logs import LINE, PLAIN, JsonLines, PlainLines


def record(message: str, *args: object) -> logging.LogRecord:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        return logging.LogRecord("room", logging.ERROR, __file__, 1, message, args, sys.exc_info())


def test_a_record_is_one_line_whatever_stands_in_it() -> None:
    text = PlainLines(PLAIN).format(record("task %s failed", "evil\r\n2026 INFO forged\x1b[2J\u2028"))
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert "Traceback" in text
    assert "evil\\r\\n2026" in text


def test_json_lines_keep_all_of_it() -> None:
    text = JsonLines().format(record("task %s failed", "evil\n\u2028"))
    assert len(text.splitlines()) == 1
    line = json.loads(text)
    assert line["message"] == "task evil\n\u2028 failed"
    assert line["level"] == "error"
    assert "second" in line["exception"]


def test_a_line_has_at_most_eight_kibibytes_and_keeps_both_ends() -> None:
    for part in ("x", "\x00", "é", '"', "\n"):
        long = record("begin %s end", part * 100_000)
        plain, line = PlainLines(PLAIN).format(long), JsonLines().format(long)
        assert len(plain.encode()) <= LINE
        assert len(line.encode()) <= LINE
        assert "begin" in plain
        assert plain.endswith("ValueError: first\\nsecond")
        told = json.loads(line)
        assert told["message"].startswith("begin")
        assert told["message"].endswith("end")
        assert told["exception"].endswith("first\nsecond")
