"""Queues in which nothing waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import trio

from actors.model.queue import HandlerView, PausedName, QueuePatch, QueueView


class FakeQueues:
    """Implements QueueStore."""

    def __init__(self) -> None:
        self.known = {"default": QueueView(name="default", depth=3, due=2, running=1, oldest=0.5)}
        self.paused: dict[str, PausedName] = {}
        self.declared = {"noop": HandlerView(name="noop", live=True, queue="default")}

    async def queues(self) -> list[QueueView]:
        await trio.lowlevel.checkpoint()
        return [self.known[name] for name in sorted(self.known)]

    async def queue(self, name: str) -> QueueView:
        await trio.lowlevel.checkpoint()
        return self.known.get(name, QueueView(name=name))

    async def set_queue(self, name: str, patch: QueuePatch) -> QueueView:
        changes = {field: getattr(patch, field) for field in patch.fields}
        if "paused" in patch.fields:
            changes["paused_reason"] = patch.paused_reason
            changes["paused_at"] = datetime.now(UTC) if patch.paused else None
        self.known[name] = replace(await self.queue(name), **changes)
        return self.known[name]

    async def paused_names(self) -> list[PausedName]:
        await trio.lowlevel.checkpoint()
        return list(self.paused.values())

    async def pause_name(self, name: str, reason: str | None) -> None:
        await trio.lowlevel.checkpoint()
        self.paused[name] = PausedName(name, reason, datetime.now(UTC))

    async def resume_name(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.paused.pop(name, None)

    async def handlers(self) -> list[HandlerView]:
        await trio.lowlevel.checkpoint()
        names = sorted({*self.declared, *self.paused})
        found = [self.declared.get(name, HandlerView(name=name)) for name in names]
        return [
            replace(one, paused_at=self.paused[one.name].paused_at, paused_reason=self.paused[one.name].reason)
            if one.name in self.paused
            else one
            for one in found
        ]
