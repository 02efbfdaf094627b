"""What a system promises about the death of a node, from its own lease terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from actors.model.lease import LeaseTerms

DISPATCH = 0.5  # seconds from a task's return to the queue to its next assignment, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds from the strike, at most."""

    noticed: float  # worker: shown as lost; coordinator: all its workers are linked again
    again: float | None  # worker: its tasks are assigned to others; coordinator: None, they stay where they are

    def as_json(self) -> dict[str, float | None]:
        return asdict(self)


def terms_from(shown: Mapping[str, Any] | None) -> LeaseTerms | None:
    """The terms that a node shows; None when its release shows none. Terms that are not known here are ignored."""
    if not shown:
        return None
    known = {field.name for field in fields(LeaseTerms)}
    return LeaseTerms(**{name: value for name, value in shown.items() if name in known})


def worker_bounds(terms: LeaseTerms, *, frozen: bool) -> Bounds:
    """A closed socket is given the grace; a silent worker its lease, and one slow statement."""
    wait = terms.lease + terms.statement_limit if frozen else terms.grace
    noticed = wait + terms.sweep
    return Bounds(noticed=noticed, again=noticed + DISPATCH)


def coordinator_bounds(terms: LeaseTerms, *, others: bool) -> Bounds:
    """With another coordinator, what the lease terms allow for a resume; else the time until workers give up."""
    resume = terms.silence + terms.reconnect_delay + terms.connect_limit + terms.renewal
    return Bounds(noticed=resume if others else terms.lease - terms.margin, again=None)
