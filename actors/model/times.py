"""Instants as RFC 3339 writes them; nothing is guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from actors.model.wrong import shown

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def instant(text: object) -> datetime:
    """An aware time in UTC; raises ValueError with what is wrong and an example."""
    example = "write a time like 2026-01-31T12:00:00Z"
    if not isinstance(text, str):
        raise ValueError(f"a string is wanted: {example}")
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is not an RFC 3339 time: {example}")
    if found.group(2) is None:
        raise ValueError(f"{shown(text)} has no offset, so it could be any zone's time: end it with Z or +02:00")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{shown(text)} is no time that exists ({error}): {example}") from None
