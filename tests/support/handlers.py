"""Handlers for system tests; every start and end leaves a line in the file that EVENTS names.

Copied to a folder outside the repository before use: worker nodes must need nothing of it.
"""

import json
import os
import time
from typing import Any

import trio

from callboard import Context, task

EVENTS = os.environ["EVENTS"]


def note(kind: str, ctx: Context) -> None:
    """One line, written in one go, so that lines of several processes never mix."""
    line = {"kind": kind, "task": int(ctx.task_id), "attempt": ctx.attempt, "pid": os.getpid(), "at": time.time()}
    descriptor = os.open(EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)


@task
async def noop() -> None:
    pass


@task
async def quick(ctx: Context, n: int = 0) -> int:
    note("start", ctx)
    return n


@task
async def gathered(found: dict[str, Any]) -> dict[str, Any]:
    return found


@task
async def nap(ctx: Context, seconds: float) -> str:
    """Sleeps as a good Trio task does."""
    note("start", ctx)
    try:
        await trio.sleep(seconds)
    except trio.Cancelled:
        note("cancelled", ctx)
        raise
    note("end", ctx)
    return "slept"


@task
def block(ctx: Context, seconds: float) -> str:
    """A plain function in a thread."""
    note("start", ctx)
    time.sleep(seconds)
    note("end", ctx)
    return "blocked"


@task
async def spin(ctx: Context, seconds: float) -> str:
    """Holds the executor's loop and never lets go."""
    note("start", ctx)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    note("end", ctx)
    return "spun"


@task(retries=2, backoff=0.1)
async def flaky(ctx: Context, fails: int) -> int:
    note("start", ctx)
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")
    return ctx.attempt


@task
async def suicide(ctx: Context) -> None:
    """Kills its executor."""
    note("start", ctx)
    os.kill(os.getpid(), 9)


@task
async def hello(ctx: Context) -> None:
    """Serves HTTP while it runs."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = f"hello from {ctx.task_id} attempt {ctx.attempt} {scope['path']}".encode()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": body})

    note("start", ctx)
    await ctx.serve(app)
