"""How long things may take on a worker node, and how much may wait."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds throughout."""

    cancel_grace: float = 5.0  # from a cancel or a timeout until the executor is killed
    lease_grace: float = 0.5  # the same at the end of the lease: with the kill it must fit into the lease's margin
    stall: float = 30.0  # an executor that is silent for so long is killed
    sluggish: float = 0.25  # one that does not answer for so long gets work only when all others don't either
    ready: float = 60.0  # for importing the user's modules
    start: float = 5.0  # what finds no slot for so long is handed back, so that others can do it
    stop_after: float = 0.5  # after the deadline an executor ends itself by force
    ping: float = 1.0  # between pings while it holds something
    idle_ping: float = 20.0  # between pings while it holds nothing
    leave: float = 0.5  # from Leave until the executor is killed
    unsent: int = 64 * 1024 * 1024  # bytes that an executor has not read: beyond it nothing more is given to it
