"""V18: manners. No answer and no log line tells what it should not, or is longer than it should be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.check_history.history import History, Problem

LONGEST = 2048  # bytes of a refusal
_TELLS = re.compile(
    r"Traceback \(most recent call last\)|File \\?\"[^\"]+\", line \d+|\basyncpg\b"
    r"|\b(?:SELECT|UPDATE|INSERT INTO|DELETE FROM)\b[^\"]{0,200}\bcallboard_|postgres(?:ql)?://\S+:\S+@"
)
_LINE = re.compile(r"\{|error: |\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")


def manners(history: History) -> Iterator[Problem]:
    canaries = [str(one) for one in history.run.get("canaries", ())]
    spared = set(history.expect["may_5xx"])
    for line in history.of("answer"):
        if line["status"] >= 500 and line["status"] not in spared:
            yield Problem("V18", f"an answer with status {line['status']}", (line,))
        if line["body_bytes"] > LONGEST:
            yield Problem("V18", f"a refusal of {line['body_bytes']} bytes", (line,))
        if (told := _TELLS.search(line["text"])) is not None:
            yield Problem("V18", f"an answer tells of the inside: {told[0]}", (line,))
        if any(one in line["text"] for one in canaries):
            yield Problem("V18", "an answer tells a secret", (line["status"], line["seq"]))
    for name, lines in history.logs.items():
        for number, text in enumerate(lines, 1):
            if any(one in text for one in canaries):
                yield Problem("V18", f"logs/{name}.log line {number} tells a secret")
                break
        broken = next((number for number, text in enumerate(lines, 1) if not _LINE.match(text)), None)
        if broken is not None:
            yield Problem("V18", f"logs/{name}.log line {broken} is not a line of its own", (lines[broken - 1][:200],))
