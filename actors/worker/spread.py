"""How an assignment is cut up: between executors, and into those that run alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from actors.model.columns import SOLO, Assignment


def share(count: int, rooms: Sequence[int]) -> list[int]:
    """How many of `count` tasks each executor gets: the freest first, until all are equally free or full.

    A room below nothing is what waits beyond the slots; it is levelled in the same way.
    """
    order = sorted(range(len(rooms)), key=lambda index: -rooms[index])
    shares = [0] * len(rooms)
    left = count
    for depth, index in enumerate(order, start=1):
        following = rooms[order[depth]] if depth < len(order) else None
        step = left if following is None else min(left, (rooms[index] - following) * depth)
        each, rest = divmod(step, depth)
        for place, other in enumerate(order[:depth]):
            shares[other] += each + (place < rest)
        left -= step
        if not left:
            break
    return shares


def cut(whole: Assignment, counts: Sequence[int]) -> Iterator[Assignment | None]:
    """Consecutive parts of so many tasks; None for a part of none."""
    start = begin = 0
    for count in counts:
        if not count:
            yield None
            continue
        if count == len(whole):
            yield whole
            start += count
            continue
        end = start + count
        size = sum(whole.sizes[start:end])
        yield Assignment(
            whole.lease_key,
            whole.ids[start:end],
            whole.attempts[start:end],
            whole.names,
            whole.name_index[start:end],
            whole.timeouts[start:end],
            whole.flags[start:end],
            whole.sizes[start:end],
            whole.payloads[begin : begin + size],
            whole.epoch,
        )
        start, begin = end, begin + size


def pick(whole: Assignment, chosen: Sequence[int]) -> Assignment:
    """Those at these places."""
    ends = list(accumulate(whole.sizes, initial=0))
    return Assignment(
        whole.lease_key,
        [whole.ids[index] for index in chosen],
        [whole.attempts[index] for index in chosen],
        whole.names,
        [whole.name_index[index] for index in chosen],
        [whole.timeouts[index] for index in chosen],
        [whole.flags[index] for index in chosen],
        [whole.sizes[index] for index in chosen],
        b"".join(whole.payloads[ends[index] : ends[index + 1]] for index in chosen),
        whole.epoch,
    )


def partition(whole: Assignment, chosen: Sequence[int]) -> tuple[Assignment | None, Assignment | None]:
    """Those at these places, and the others; None for nobody."""
    if not chosen:
        return None, whole
    if len(chosen) == len(whole):
        return whole, None
    taken = set(chosen)
    return pick(whole, chosen), pick(whole, [index for index in range(len(whole)) if index not in taken])


def alone(whole: Assignment, isolated: frozenset[str]) -> list[int]:
    """Places of the tasks that run in an executor of their own: once killers, or declared so."""
    names = {index for index, name in enumerate(whole.names) if name in isolated}
    return [
        place
        for place, (flags, name) in enumerate(zip(whole.flags, whole.name_index, strict=True))
        if flags & SOLO or name in names
    ]
