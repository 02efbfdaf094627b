"""Handlers that end in every way."""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from callboard import Context, Fail, Retry, Snooze, task

flavour = contextvars.ContextVar("flavour", default="plain")


@task
async def noop() -> None: ...


@task(queue="math", retries=1, timeout=9, backoff={"base": 2}, isolation="process")
async def add(ctx: Context, x: int, y: int = 1) -> dict[str, Any]:
    return {"sum": x + y, "task": ctx.task_id, "attempt": ctx.attempt}


@task
async def trouble(kind: str) -> Any:
    raised: dict[str, BaseException] = {
        "error": ValueError("broken"), "retry": Retry("later", after=7), "fail": Fail("never"),
        "snooze": Snooze(after=60), "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "base": BaseException("b"),
    }  # fmt: skip
    if kind in raised:
        raise raised[kind]
    return {"large": "x" * 300_000, "nul": "\0", "nan": float("nan")}[kind]


@task
async def sleeper(swallow: bool = False, finish: bool = False) -> str:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        if swallow:
            raise ValueError("something of my own") from None
        if not finish:
            raise
    return "done in spite of it"


@task
def plain(x: int) -> dict[str, Any]:
    return {"x": x, "main": threading.current_thread() is threading.main_thread()}


@task
def thread(ctx: Context, seconds: float, obedient: bool) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if obedient:
            ctx.check_cancelled()
        time.sleep(0.01)
    return "reached the end"


@task
def thread_exit() -> None:
    sys.exit(2)


@task
async def hold(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 (the handler that must not hurt)


@task
async def nap(seconds: float) -> str:
    await trio.sleep(seconds)
    return "woke"


@task
async def many_values(ctx: Context, count: int) -> None:
    for number in range(1, count + 1):
        await ctx.progress(number, count, f"at {number}")
        await trio.sleep(0.002)


@task
def thread_progress(ctx: Context) -> None:
    for number in range(1000):
        ctx.progress(number, message="nul \0")
    time.sleep(0.2)
    ctx.progress(1000)


@task
async def taste() -> str:
    seen = flavour.get()
    flavour.set("salty")
    return seen


@task
async def where() -> dict[str, Any]:
    def importable(name: str) -> bool:
        try:
            __import__(name)
        except ImportError:
            return False
        return True

    return {
        "path": sys.path,
        "rooms": [name for name in ("actors", "api", "storage", "transport", "protos", "tests") if importable(name)],
        "callboard": importable("callboard") and importable("callboard.client"),
        "secrets": [name for name in ("CALLBOARD_TOKEN", "DATABASE_URL") if name in os.environ],
        "input": sys.stdin.read(),
        "signals_of_children": _ignored_by_a_child(),
    }


def _ignored_by_a_child() -> str:
    import subprocess

    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    return next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))


async def _read_all(receive: Callable[..., Any]) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def web(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Echoes; `/stream` sends without end; `/flood` without end and without a pause; WebSockets echo."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and "CALLBOARD_TEST_MARK" in os.environ:
                Path(os.environ["CALLBOARD_TEST_MARK"]).write_text("shut down")
            await send({"type": f"{message['type']}.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
    else:
        body = await _read_all(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while scope["path"] in ("/stream", "/flood"):
            await send({"type": "http.response.body", "body": b"x" * 1000 + b"\n", "more_body": True})
            if scope["path"] == "/stream":
                await trio.sleep(0.01)
        await send({"type": "http.response.body", "body": scope["path"].encode() + b" " + body})


@task
async def site(ctx: Context, until: str | None = None) -> str:
    """Serves until there is a file of this name."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ctx.serve, web)
        while until is None or not os.path.exists(until):
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return "closed"
