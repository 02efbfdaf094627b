"""A seam for tests: named points of the protocol, where a test may record what happened or make the process fail.

Inert unless something was armed: a site costs one look at `armed`. What arms it is no part of an installation.

    if probe.armed is not None:
        probe.armed.note("claim", key=key.hex(), tasks=tasks)
        await probe.armed.reach("claim.after_commit")
"""

from __future__ import annotations

from typing import Any, Protocol


class Probe(Protocol):
    """What a site tells. Values are what JSON can say."""

    def note(self, event: str, **fields: Any) -> None:
        """Something happened."""
        ...

    def touch(self, point: str) -> None:
        """This point is passed, in code that can't wait. May raise, or end the process."""
        ...

    async def reach(self, point: str) -> None:
        """This point is passed. May wait, raise, or end the process."""
        ...


armed: Probe | None = None
