"""What a drill leaves behind for its judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from api.drill.bounds import Bounds
from api.drill.system import Row, Target

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})


@dataclass(slots=True)
class Watched:
    """One task that was held when the node was struck. Times are seconds after the strike."""

    before: Row
    now: Row | None  # None: the API knows it no more
    again: float | None = None  # it was assigned anew
    timed: bool = True  # its new assignment is looked for at every round
    room: bool = True  # at the last look before the bound, somebody could have taken it
    attempts: Sequence[Row] = ()  # how attempts ended; read for tasks that changed hands

    @property
    def id(self) -> str:
        return str(self.before["id"])

    @property
    def moved(self) -> bool:
        """Whether it needs no more looks: assigned anew, final, or gone."""
        return self.again is not None or self.now is None or self.now["state"] in FINAL


@dataclass(slots=True)
class Record:
    """One drill. Times are seconds after the strike."""

    target: Target
    freeze: bool
    bounds: Bounds
    tasks: list[Watched] = field(default_factory=list)
    suspected: float | None = None  # a worker was shown as suspect
    noticed: float | None = None  # see Bounds
    back: tuple[str, float] | None = None  # a node that came in its place
    returned: float | None = None  # after a freeze: it was shown as alive again
    api_away: float = 0.0  # seconds in which the API did not answer
    unfrozen: bool = False
    watched_for: float = 0.0
