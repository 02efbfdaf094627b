"""Batches as parallel columns: the shape in which tasks and outcomes travel end to end.

One list a field, one blob for all payloads with their sizes. A row object for each task would
cost more than everything else that happens to a short task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate


class Outcome(IntEnum):
    """How an attempt ended, as it travels. Numbers are part of the wire contract."""

    SUCCEEDED = 0
    FAILED = 1  # the handler raised; may be retried
    FAILED_FINAL = 2  # Fail, bad arguments, bad result: no retry
    TIMED_OUT = 3
    CANCELLED = 4
    CRASHED = 5  # the executor died under it
    RELEASED = 6  # handed back unharmed: drain, or a neighbour of a killed handler
    SNOOZED = 7
    REFUSED = 8  # never started: unknown handler, full, an epoch that fell


class Verdict(IntEnum):
    """What became of a reported outcome."""

    ACCEPTED = 0
    ACCEPTED_BEFORE = 1
    FENCED = 2


@dataclass(slots=True)
class Assignment:
    """Tasks of one claim for one worker. All lists have one entry a task."""

    lease_key: bytes  # 16 bytes, one for the whole claim
    ids: list[int]
    attempts: list[int]
    names: list[str]  # distinct handler names
    name_index: list[int]  # task → names
    timeouts: list[int]  # milliseconds; 0 = none
    flags: list[int]  # bit 0 exclusive, bit 1 solo (run in an executor of its own)
    sizes: list[int]  # bytes of each payload
    payloads: bytes  # JSON objects, back to back
    epoch: int = 0
    weights: list[int] = field(default_factory=list)  # slots that each takes; empty: one each. Does not travel

    def __len__(self) -> int:
        return len(self.ids)


EXCLUSIVE = 1
SOLO = 2


@dataclass(slots=True)
class Outcomes:
    """Outcomes of attempts, of any number of claims."""

    keys: list[bytes] = field(default_factory=list)  # distinct lease keys
    key_index: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)  # Outcome
    sizes: list[int] = field(default_factory=list)
    bodies: bytes = b""  # JSON: the result of a success, {"type","message","traceback","evidence","after"} else

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self) -> list[str]:
        """The bodies, one string each."""
        ends = list(accumulate(self.sizes))
        return [self.bodies[end - size : end].decode() for end, size in zip(ends, self.sizes, strict=True)]


def split_blob(sizes: list[int], blob: bytes) -> list[bytes]:
    """Cut a blob into its pieces."""
    ends = accumulate(sizes)
    return [blob[end - size : end] for end, size in zip(ends, sizes, strict=True)]
