"""Workflows: tasks that are posted together and wait for each other. Which graphs are taken, and how one is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from actors.model.fields import Field, Text, Texts, object_schema
from actors.model.submission import TASK, read_fields, read_task, unknown
from actors.model.task import NewTask
from actors.model.wrong import Wrong, json_kind, shown

MOST_TASKS = 10_000
REF = Text(100)
_ALONE = frozenset({"unique_key", "unique_until", "on_duplicate"})  # a workflow is stored whole or not at all
# A task of a workflow has a ref, and depends on refs.
MEMBER: Mapping[str, Field] = {
    "ref": Field(kind=REF, required=True, description="What the others call it"),
    **{name: field for name, field in TASK.items() if name not in _ALONE},
    "depends_on": Field(kind=Texts(REF, MOST_TASKS), description="Refs of tasks that must have ended before"),
}
_OF_GRAPH = frozenset({"ref", "depends_on", "on_parent_failure", "inputs"})
_OF_TASK = TASK.keys() - _OF_GRAPH - _ALONE
_NAME: Mapping[str, Field] = {"name": Field(kind=Text(200), nullable=True)}


@dataclass(frozen=True, slots=True)
class NewWorkflow:
    """A checked graph. Parents come before their children."""

    name: str | None
    tasks: Sequence[NewTask]
    refs: Sequence[str]
    parents: Sequence[Sequence[int]]  # of each task: places in `tasks`
    submitted_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One as it is stored, with how far it has come."""

    id: int
    name: str | None
    created_at: datetime
    submitted_by: str | None
    refs: Sequence[str]
    task_ids: Sequence[int]
    counts: Mapping[str, int]  # stored state → tasks; what retention has taken is in none
    finished_at: datetime | None  # of its last task; None while one has not ended

    @property
    def state(self) -> str:
        """running, succeeded, failed, or cancelled when nothing failed and something was cancelled."""
        if self.counts.keys() & {"blocked", "queued", "assigned", "running"}:
            return "running"
        if self.counts.keys() & {"failed", "quarantined", "expired"}:
            return "failed"
        return "cancelled" if "cancelled" in self.counts else "succeeded"


class WorkflowStore(Protocol):
    """Trio-flavoured. Raises the StorageError family."""

    async def submit(self, workflow: NewWorkflow, *, key: str | None, request_hash: bytes | None) -> tuple[int, bool]:
        """All of it or, with BadValue, nothing. The id, and whether it is new: a key gives the first answer again.

        Raises IdempotencyConflict for a key that was used with another body.
        """
        ...

    async def get(self, workflow_id: int) -> Workflow | None: ...
    async def find(self, *, limit: int, before_id: int | None) -> list[Workflow]:
        """Newest first (falling id), below `before_id`."""
        ...

    async def cancel(self, workflow_id: int) -> dict[str, int]:
        """Whatever has not ended: {"cancelled": those that will not start, "cancelling": those that are stopped}.

        Raises NotFound.
        """
        ...


def read_workflow(
    value: object, now: datetime, encode: Callable[[Any], str], *, submitted_by: str | None = None
) -> tuple[NewWorkflow | None, list[Wrong]]:
    """The workflow that a JSON object asks for, and what is wrong with it; None when anything is."""
    found: list[Wrong] = []
    if type(value) is not dict:
        return None, [Wrong("", "wrong_type", f"must be an object, not {json_kind(value)}")]
    members = value.get("tasks")
    made = read_fields({name: one for name, one in value.items() if name != "tasks"}, _NAME, "", found)
    if type(members) is not list:
        wanted = "this field is required" if "tasks" not in value else f"must be an array, not {json_kind(members)}"
        return None, [*found, Wrong("tasks", "missing" if "tasks" not in value else "wrong_type", wanted)]
    if not 1 <= len(members) <= MOST_TASKS:
        detail = f"must have 1 to {MOST_TASKS:,} tasks, got {len(members):,}"
        return None, [*found, Wrong("tasks", "out_of_range", detail)]
    tasks, refs, wanted_refs = _members(members, now, encode, found)
    if found:
        return None, found
    parents = _parents(refs, wanted_refs, found)
    order = [] if found else _order(refs, parents, found)
    if found:
        return None, found
    place = {old: new for new, old in enumerate(order)}
    return NewWorkflow(
        made.get("name"),
        [tasks[old] for old in order],
        [refs[old] for old in order],
        [[place[parent] for parent in parents[old]] for old in order],
        submitted_by,
    ), []


def workflow_schema() -> dict[str, Any]:
    """JSON Schema of what `read_workflow` takes."""
    member = object_schema(MEMBER, "A task, as in POST /tasks; it depends on others by their refs.")
    tasks = {"type": "array", "items": member, "minItems": 1, "maxItems": MOST_TASKS}
    whole = object_schema(_NAME, "A graph of tasks, posted as one.")
    return {**whole, "properties": {**whole["properties"], "tasks": tasks}, "required": ["tasks"]}


def _members(
    members: Sequence[object], now: datetime, encode: Callable[[Any], str], found: list[Wrong]
) -> tuple[list[NewTask], list[str], list[list[str]]]:
    """Tasks, what they are called, and what they depend on; each is checked by itself."""
    tasks: list[NewTask] = []
    refs: list[str] = []
    wanted: list[list[str]] = []
    for index, member in enumerate(members):
        where = f"tasks[{index}]"
        if type(member) is not dict:
            found.append(Wrong(where, "wrong_type", f"must be an object, not {json_kind(member)}"))
            continue
        graph = {name: member[name] for name in _OF_GRAPH if name in member}
        made = read_fields(graph, {name: MEMBER[name] for name in _OF_GRAPH}, where, found)
        for name in sorted(_ALONE & member.keys()):
            found.append(Wrong(f"{where}.{name}", "conflict", "is for single tasks: leave it out"))
        found += [unknown(name, f"{where}.", MEMBER) for name in member if name not in MEMBER and name not in _ALONE]
        rest = {name: one for name, one in member.items() if name in _OF_TASK}
        task, wrong = read_task(rest, now, encode, where=where)
        found += wrong
        depends_on = made.get("depends_on") or []
        for name in ("on_parent_failure", "inputs"):
            if member.get(name) is not None and not depends_on:
                detail = "means something beside depends_on only: give some, or leave this out"
                found.append(Wrong(f"{where}.{name}", "conflict", detail))
        if task is not None:
            policy = made.get("on_parent_failure", "cancel")
            tasks.append(replace(task, on_parent_failure=policy, inputs=made.get("inputs")))
            refs.append(made.get("ref", ""))
            wanted.append(depends_on)
    return tasks, refs, wanted


def _parents(refs: Sequence[str], wanted: Sequence[Sequence[str]], found: list[Wrong]) -> list[list[int]]:
    """Places instead of refs."""
    places: dict[str, int] = {}
    for index, ref in enumerate(refs):
        if ref in places:
            detail = f"{shown(ref)} is the ref of tasks[{places[ref]}] already: each needs one of its own"
            found.append(Wrong(f"tasks[{index}].ref", "conflict", detail))
        places.setdefault(ref, index)
    parents: list[list[int]] = []
    for index, depends_on in enumerate(wanted):
        mine: dict[int, None] = {}
        for number, ref in enumerate(depends_on):
            field = f"tasks[{index}].depends_on[{number}]"
            if ref not in places:
                found.append(Wrong(field, "invalid", f"no task of this workflow has the ref {shown(ref)}"))
            elif places[ref] == index:
                found.append(Wrong(field, "conflict", f"{shown(ref)} can't wait for itself"))
            else:
                mine[places[ref]] = None
        parents.append(list(mine))
    return parents


def _order(refs: Sequence[str], parents: Sequence[Sequence[int]], found: list[Wrong]) -> list[int]:
    """Places, parents first, else as they were given (Kahn, 1962)."""
    children: list[list[int]] = [[] for _ in refs]
    left = [len(mine) for mine in parents]
    for index, mine in enumerate(parents):
        for parent in mine:
            children[parent].append(index)
    order = [index for index, count in enumerate(left) if not count]
    for index in order:  # grows meanwhile
        for child in children[index]:
            left[child] -= 1
            if not left[child]:
                order.append(child)
    if len(order) < len(refs):
        circle = _cycle(parents, left)
        names = " → ".join([refs[index] for index in circle][:20])
        found.append(Wrong("tasks", "cycle", f"these wait for each other, and would wait for ever: {names}"))
    return order


def _cycle(parents: Sequence[Sequence[int]], left: Sequence[int]) -> list[int]:
    """One circle among those that are left, in the direction of the work, its first place also last."""
    place = next(index for index, count in enumerate(left) if count)
    seen: dict[int, int] = {}
    path: list[int] = []
    while place not in seen:
        seen[place] = len(path)
        path.append(place)
        place = next(parent for parent in parents[place] if left[parent])
    return [place, *reversed(path[seen[place] :])]
