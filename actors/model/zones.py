"""Time zones: their names, and the version of the data that says when clocks change."""

from __future__ import annotations

import difflib
import functools
import importlib
import zoneinfo
from pathlib import Path

from actors.model.wrong import shown

MOST = 64  # letters of a name


@functools.cache
def names() -> frozenset[str]:
    """All that this machine knows, without the aliases of its own installation."""
    ours = ("posix", "right", "localtime", "Factory")
    return frozenset(name for name in zoneinfo.available_timezones() if not name.startswith(ours))


def problem(name: str) -> str | None:
    """What is wrong with the name of a zone, with names that are near; None when it is right."""
    if name in names():
        return None
    lowered = {known.lower(): known for known in sorted(names())}
    places = {known.rpartition("/")[2].lower(): known for known in sorted(names())}
    given = name[:MOST].lower().replace(" ", "_")
    near = [places[given]] if given in places else []
    near += [places[one] for one in difflib.get_close_matches(given, places, n=2)]
    near += [lowered[one] for one in difflib.get_close_matches(given, lowered, n=3)]
    found = list(dict.fromkeys(near))[:3]
    hint = f"did you mean {', '.join(found)}?" if found else "write a name like Europe/Berlin or UTC"
    return f"{shown(name)} is no time zone known here; {hint}"


@functools.cache
def data_version() -> str:
    """Like ``2025b``, rising; empty where nobody says. Of what zoneinfo reads: the system's data before the wheel's."""
    for folder in zoneinfo.TZPATH:
        file = Path(folder) / "tzdata.zi"
        if file.is_file():
            with file.open(encoding="utf-8", errors="replace") as lines:
                head = lines.readline(64)
            return head.removeprefix("# version ").strip()[:16] if head.startswith("# version ") else ""
        if (Path(folder) / "UTC").is_file():
            return ""  # the system's data, and it does not say which
    try:
        return str(importlib.import_module("tzdata").IANA_VERSION)
    except ModuleNotFoundError:
        return ""
