"""Handlers for the bench. Each writes itself when it starts and how it ends, past everything that is tested.

Copied to a folder outside the repository, with `record.py` beside it.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from record import Recorder  # type: ignore[import-not-found]  # the copy beside this one

from callboard import Context, task
from callboard.errors import Cancelled

FOLDER, WORKER, SLOTS = (
    Path(os.environ["BENCH_HISTORY"]),
    os.environ["BENCH_WORKER"],
    int(os.environ["CALLBOARD_SLOTS"]),
)
_recorder: Any = None


def recorder() -> Any:
    """Opened by the first who writes: processes that only import this leave nothing behind."""
    global _recorder
    life = 1
    while _recorder is None:
        try:
            _recorder = Recorder(FOLDER, "handlers", life)
        except FileExistsError:  # an earlier process had this number
            life += 1
    return _recorder


@contextmanager
def noted(ctx: Context) -> Iterator[None]:
    what = {"task": int(ctx.task_id), "attempt": ctx.attempt}
    key = getattr(ctx._host, "key", b"")
    recorder().note("exec_start", **what, lease_key=key.hex(), worker=WORKER, slots=SLOTS)
    try:
        yield
    except (trio.Cancelled, Cancelled):
        recorder().note("exec_end", **what, how="cancelled")
        raise
    except BaseException:
        recorder().note("exec_end", **what, how="raise")
        raise
    recorder().note("exec_end", **what, how="return")


@task
async def nap(ctx: Context, seconds: float, weight: int = 0) -> dict[str, Any]:
    """Sleeps; the result has so many bytes more."""
    with noted(ctx):
        await trio.sleep(seconds)
    return {"slept": seconds, "weight": "x" * weight}


@task
def block(ctx: Context, seconds: float) -> str:
    """A plain function, in a thread; looks for a cancel now and then."""
    with noted(ctx):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ctx.check_cancelled()
            time.sleep(0.02)
    return "blocked"


@task
async def spin(ctx: Context, seconds: float) -> str:
    """Holds the executor's loop and the interpreter."""
    with noted(ctx):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
    return "spun"


@task(retries=3, backoff=0.1)
async def flaky(ctx: Context, seconds: float, marker: str) -> int:
    """Fails the first time, by a file that survives everything."""
    with noted(ctx):
        await trio.sleep(seconds)
        try:
            (FOLDER.parent / f"{marker}.failed").touch(exist_ok=False)
        except FileExistsError:
            return ctx.attempt
        raise ValueError("the first try fails")


@task(retries=1, backoff=0.1)
async def bad(ctx: Context, seconds: float) -> None:
    with noted(ctx):
        await trio.sleep(seconds)
        raise ValueError("every try fails")


@task
async def stubborn(ctx: Context, seconds: float) -> str:
    """Leaves when it likes."""
    with noted(ctx):
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
    return "left"


@task
async def poison(ctx: Context) -> None:
    """Kills its executor, each time."""
    with noted(ctx):
        os.kill(os.getpid(), signal.SIGKILL)
        await trio.sleep(5)


@task
async def hog(ctx: Context, marker: str, mib: int) -> str:
    """Takes so much memory, the first time."""
    with noted(ctx):
        try:
            (FOLDER.parent / f"{marker}.hogged").touch(exist_ok=False)
        except FileExistsError:
            return "modest"
        taken = []
        for _ in range(mib):
            taken.append(b"x" * 2**20)
            await trio.sleep(0.005)
    return f"{len(taken)} MiB were given"


@task
async def petrify(ctx: Context, marker: str) -> str:
    """Stops its whole executor, the first time."""
    with noted(ctx):
        try:
            with (FOLDER.parent / f"{marker}.petrified").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return "moved on"
        os.kill(os.getpid(), signal.SIGSTOP)
        await trio.sleep(5)
    return "woke up"


@task(retries=1, backoff=0.1)
async def odd(ctx: Context, how: str) -> str:
    """Ends as no handler should."""
    with noted(ctx):
        match how:
            case "_exit":
                os._exit(3)
            case "exit":
                sys.exit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "generator":
                raise GeneratorExit
            case "base":
                raise BaseException("neither an Exception nor known")
            case "segfault":
                ctypes.string_at(0)
    return how
