"""Doing something again and again, without drift, and waiting for a hint or a poll."""

from __future__ import annotations

import time

import trio

from actors.runtime import chance


async def pause(period: float, jitter: float = 0.1) -> None:
    """Sleeps `period` seconds ± `jitter` of it."""
    await trio.sleep(period * chance.uniform(1 - jitter, 1 + jitter))


async def wait_hint(hints: trio.MemoryReceiveChannel[None], at_most: float) -> bool:
    """Waits for a hint, at most so many seconds; whether one came. Hints that piled up are one."""
    with trio.move_on_after(at_most):
        try:
            await hints.receive()
        except trio.EndOfChannel:
            await trio.sleep(at_most)
            return False
        return True
    return False


def boottime() -> float:
    """Seconds that go on counting while a virtual machine is suspended; for lease deadlines only."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
