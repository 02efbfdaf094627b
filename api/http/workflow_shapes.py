"""How workflows are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict

from actors.model.workflow import Workflow


class WorkflowJson(TypedDict):
    id: str
    name: str | None
    state: Literal["running", "succeeded", "failed", "cancelled"]
    created_at: datetime
    finished_at: datetime | None
    total: int
    done: int  # have ended, however
    counts: dict[str, int]  # stored state → tasks
    submitted_by: str | None


class WorkflowPage(TypedDict):
    items: list[WorkflowJson]
    next_cursor: str | None


class WorkflowPosted(TypedDict):
    id: str
    ids: dict[str, str]  # ref → task


class WorkflowCancelled(TypedDict):
    id: str
    cancelled: int
    cancelling: int


def workflow_json(workflow: Workflow) -> WorkflowJson:
    total = len(workflow.task_ids)
    waiting = sum(workflow.counts.get(state, 0) for state in ("blocked", "queued", "assigned", "running"))
    return {
        "id": str(workflow.id),
        "name": workflow.name,
        "state": workflow.state,  # type: ignore[typeddict-item]
        "created_at": workflow.created_at,
        "finished_at": workflow.finished_at,
        "total": total,
        "done": total - waiting,
        "counts": dict(sorted(workflow.counts.items())),
        "submitted_by": workflow.submitted_by,
    }
