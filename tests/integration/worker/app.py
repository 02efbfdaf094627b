"""Handlers for executors under test."""

import os
import signal
import subprocess
import time
from typing import Any

import trio

from callboard import Context, task


@task
async def noop() -> None:
    pass


@task
async def nap(seconds: float) -> str:
    await trio.sleep(seconds)
    return "slept"


@task
async def spin(seconds: float) -> str:
    """Holds the executor's only loop, and the interpreter."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


@task
async def stubborn() -> None:
    """Ignores every cancel."""
    while True:
        try:
            await trio.sleep(0.05)
        except trio.Cancelled:
            time.sleep(0.01)  # noqa: ASYNC251 (as bad as handlers get)


@task
def die(number: int = signal.SIGSEGV) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


@task
async def die_now() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def leave_a_child() -> int:
    """Starts a process that would outlive it."""
    return subprocess.Popen(["sleep", "60"]).pid


@task(isolation="process")
def who() -> int:
    return os.getpid()


@task
async def report(ctx: Context) -> dict[str, Any]:
    for done in range(5):
        ctx.progress(done, 5)
        await trio.sleep(0.02)
    return {"pid": os.getpid()}
