"""Ids and cursors as clients write them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from actors.model.wrong import shown
from api.http.problems import Problem, not_found

_ID = re.compile(r"[0-9]{1,19}", re.ASCII)
_CURSOR = re.compile(r"([0-9]{1,19})\.([0-9a-f]{12})", re.ASCII)
LARGEST = 2**63 - 1


def task_id_of(text: str) -> int:
    """Raises Problem 404: what can't be an id names no task."""
    number = int(text) if _ID.fullmatch(text) else 0
    if not 0 < number <= LARGEST:
        raise not_found(f"there is no task {shown(text)}: ids are whole numbers")
    return number


def cursor_for(before_id: int, query: str) -> str:
    """Continues a listing after this id; good for the same query only."""
    return base64.urlsafe_b64encode(f"{before_id}.{_mark(query)}".encode()).decode().rstrip("=")


def before_id_of(cursor: str, query: str) -> int:
    """Raises Problem 400 for a cursor that was cut, edited, or is of another query."""
    try:
        text = base64.urlsafe_b64decode(cursor[:64] + "=" * (-len(cursor[:64]) % 4)).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    found = _CURSOR.fullmatch(text)
    if found is None or found.group(2) != _mark(query) or len(cursor) > 64 or int(found.group(1)) > LARGEST:
        raise Problem(
            status=400,
            code="cursor_invalid",
            detail="this cursor was not given for this query: start without one, and change no filter between pages",
        )
    return int(found.group(1))


def _mark(query: str) -> str:
    return hashlib.sha256(query.encode("utf-8", "surrogatepass")).hexdigest()[:12]
