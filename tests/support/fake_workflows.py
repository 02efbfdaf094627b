"""Workflows that nobody runs."""

from __future__ import annotations

from datetime import UTC, datetime

import trio

from actors.model.errors import IdempotencyConflict, NotFound
from actors.model.workflow import NewWorkflow, Workflow


class FakeWorkflows:
    """Implements WorkflowStore."""

    def __init__(self) -> None:
        self.stored: dict[int, Workflow] = {}
        self.keys: dict[str, tuple[int, bytes | None]] = {}

    async def submit(self, workflow: NewWorkflow, *, key: str | None, request_hash: bytes | None) -> tuple[int, bool]:
        await trio.lowlevel.checkpoint()
        if key in self.keys:
            number, known = self.keys[str(key)]
            if known != request_hash:
                raise IdempotencyConflict("another body")
            return number, False
        number = len(self.stored) + 1
        first = sum(len(one.task_ids) for one in self.stored.values()) + 1
        blocked = sum(map(bool, workflow.parents))
        counts = {"queued": len(workflow.tasks) - blocked, "blocked": blocked}
        self.stored[number] = Workflow(
            id=number, name=workflow.name, created_at=datetime.now(UTC), submitted_by=None, refs=workflow.refs,
            task_ids=range(first, first + len(workflow.tasks)), finished_at=None,
            counts={state: count for state, count in counts.items() if count},
        )  # fmt: skip
        if key is not None:
            self.keys[key] = number, request_hash
        return number, True

    async def get(self, workflow_id: int) -> Workflow | None:
        await trio.lowlevel.checkpoint()
        return self.stored.get(workflow_id)

    async def find(self, *, limit: int, before_id: int | None) -> list[Workflow]:
        await trio.lowlevel.checkpoint()
        found = [one for one in self.stored.values() if before_id is None or one.id < before_id]
        return sorted(found, key=lambda one: -one.id)[:limit]

    async def cancel(self, workflow_id: int) -> dict[str, int]:
        await trio.lowlevel.checkpoint()
        if workflow_id not in self.stored:
            raise NotFound(f"workflow {workflow_id} does not exist")
        return {"cancelled": len(self.stored[workflow_id].task_ids), "cancelling": 0}
