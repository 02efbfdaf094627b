"""Many tasks at once, by their ids or by what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.model.fields import Choice, Entries, Field, Id, Ids, Instant, Switch, Text, Texts, Whole, object_schema
from actors.model.ports import TaskFilter
from actors.model.submission import read_fields
from actors.model.task import SHOWN_STATES
from actors.model.wrong import Wrong

MOST = 10_000  # tasks of one call
_TEXT = Text(1024)


FILTER: Mapping[str, Field] = {
    "state": Field(kind=Texts(Choice(*SHOWN_STATES), len(SHOWN_STATES)), description="Any of these"),
    **{name: Field(kind=_TEXT) for name in ("name", "queue", "tag", "worker", "schedule")},
    "workflow": Field(kind=Id()),
    "created_after": Field(kind=Instant()),
    "created_before": Field(kind=Instant()),
    "metadata": Field(kind=Entries(Text(128), Text(1024, 0), 64)),
}


@dataclass(frozen=True, slots=True)
class _Filter:
    """An object; becomes a TaskFilter."""

    def read(self, value: Any, field: str, found: list[Wrong]) -> Any:
        before = len(found)
        made = read_fields(value, FILTER, field, found)
        if len(found) == before and not made:
            detail = "must name something: created_before with the time of now takes all there is"
            found.append(Wrong(field, "missing", detail))
        if len(found) > before:
            return None
        return TaskFilter(states=tuple(made.pop("state", ())), metadata=made.pop("metadata", {}), **made)

    def schema(self) -> dict[str, Any]:
        return {**object_schema(FILTER, "What the tasks have in common, as in GET /tasks."), "minProperties": 1}


BULK: Mapping[str, Field] = {
    "ids": Field(kind=Ids(MOST), description="These tasks; or a filter"),
    "filter": Field(kind=_Filter(), description="Those that match; or ids"),
    "limit": Field(kind=Whole(1, MOST), default=MOST, description="Tasks of one call; the oldest first"),
    "dry_run": Field(kind=Switch(), default=False, description="Count, and change nothing"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tasks; one of ids and where is given."""

    ids: Sequence[int] = ()
    where: TaskFilter | None = None
    limit: int = MOST
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkDone:
    """What was done to how many."""

    matched: int
    done: Mapping[str, int]  # cancelled, cancelling; retried
    skipped: Mapping[str, int] = field(default_factory=dict)  # missing; final, unfinished, retried
    more: bool = False  # more match than one call takes: call again


class BulkStore(Protocol):
    """In transactions of bounded size: a call that is cut short has done a part. Raises the StorageError family."""

    async def cancel_many(self, selection: Selection) -> BulkDone:
        """Whatever has not ended."""
        ...

    async def retry_many(self, selection: Selection, *, submitted_by: str | None) -> BulkDone:
        """Posts finished tasks anew, each once: what has a retry already is left alone. By a filter without states,
        those that did not succeed and were not cancelled."""
        ...


def read_bulk(value: object) -> tuple[Selection | None, list[Wrong]]:
    """The selection that a JSON object asks for, and what is wrong with it; None when anything is."""
    found: list[Wrong] = []
    made = read_fields(value, BULK, "", found)
    if not found and ("ids" in made) == ("filter" in made):
        found.append(Wrong("", "conflict", "give either ids or filter"))
    if not found and "ids" in made and not made["ids"]:
        found.append(Wrong("ids", "out_of_range", "must name one task or more"))
    if found:
        return None, found
    where = made.pop("filter", None)
    return Selection(where=where, **made), []
