"""What may be said about queues: one judge for every door it may come through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.model.fields import Field, Name, Seconds, Switch, Text, Whole, object_schema
from actors.model.queue import QueuePatch, Rate
from actors.model.schedule_fields import MOST_REASON
from actors.model.submission import read_fields
from actors.model.wrong import Wrong

MOST = 1_000_000  # of anything that is counted
LONGEST = 31_536_000.0  # seconds of a rate's period
_RATE: Mapping[str, Field] = {
    "limit": Field(kind=Whole(1, MOST), required=True, description="Starts"),
    "period": Field(kind=Seconds(LONGEST, above=True), required=True, description="Seconds"),
}


@dataclass(frozen=True, slots=True)
class _Rate:
    """An object; becomes a Rate."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        before = len(found)
        made = read_fields(value, _RATE, field, found)
        return Rate(made["limit"], float(made["period"])) if len(found) == before else None

    def schema(self) -> dict[str, Any]:
        return object_schema(_RATE, "No more starts than this within any period of this length.")


_KEEP = Seconds(3_153_600_000.0)
_KEPT = "Seconds that tasks are kept, at least a minute, after they"
QUEUE: Mapping[str, Field] = {
    "concurrency": Field(
        kind=Whole(0, MOST), nullable=True, description="Weight that may be out at once, on all workers together"
    ),
    "concurrency_per_key": Field(
        kind=Whole(1, MOST), nullable=True, description="The same of one concurrency_key; keys take turns"
    ),
    "rate": Field(kind=_Rate(), nullable=True, description="Starts, on all workers together"),
    "rate_per_key": Field(kind=_Rate(), nullable=True, description="The same of one concurrency_key"),
    "keep_succeeded": Field(kind=_KEEP, nullable=True, description=f"{_KEPT} succeeded"),
    "keep_unsuccessful": Field(kind=_KEEP, nullable=True, description=f"{_KEPT} ended otherwise"),
    "paused": Field(kind=Switch(), description="Start nothing"),
    "paused_reason": Field(kind=Text(MOST_REASON), nullable=True, description="For whoever asks later"),
}
_NAME = Name(200)


def is_queue(name: str) -> bool:
    """Whether a queue can be called so."""
    found: list[Wrong] = []
    _NAME.read(name, "", found)
    return not found


def read_queue(value: object) -> tuple[QueuePatch | None, list[Wrong]]:
    """The change that a JSON object asks for, and what is wrong with it; None when anything is."""
    found: list[Wrong] = []
    made = read_fields(value, QUEUE, "", found)
    if not found and not made:
        found.append(Wrong("", "missing", f"give one of {', '.join(QUEUE)}"))
    if "paused_reason" in made and made.get("paused") is not True:
        found.append(Wrong("paused_reason", "conflict", "belongs to paused: true"))
    if found:
        return None, found
    return QueuePatch(fields=frozenset(made), **made), []
