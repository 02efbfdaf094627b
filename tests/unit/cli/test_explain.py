"""What `callboard tasks explain` prints."""

from __future__ import annotations

from api.cli.explain import lines


def test_one_reason_is_the_sentence_and_several_are_numbered() -> None:
    found = {
        "id": "7", "name": "demo", "summary": "queued: not due for 3 s", "placement": None, "retry": None,
        "reasons": [{"code": "not_due", "detail": "not due for 3 s", "until": None}],
    }  # fmt: skip
    assert lines(found) == ["task 7 (demo): queued: not due for 3 s"]
    found["reasons"] = [{"detail": "one"}, {"detail": "two"}]
    found["placement"], found["retry"] = "there", "again"
    assert lines(found)[1:] == ["  1. one", "  2. two", "  there", "  again"]
