"""Handlers to begin with. Start the system with them: callboard up --app examples/handlers.py"""

import hashlib
import random
from typing import Any

import trio

from callboard import Context, task


@task
async def greet(name: str = "world") -> str:
    """callboard submit greet --args '{"name": "Ada"}' --wait"""
    return f"Hello, {name}!"


@task(retries=5, timeout=30)
async def countdown(ctx: Context, seconds: int = 10) -> int:
    """Works for a while and tells how far it is."""
    for done in range(seconds):
        await ctx.progress(done, seconds)
        await trio.sleep(1)
    return seconds


@task
def checksum(path: str) -> str:
    """A plain function: it runs in a thread."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@task(retries=3, backoff=1)
async def flaky(chance: float = 0.5) -> str:
    """Fails now and then, and is tried again."""
    if random.random() < chance:
        raise RuntimeError("bad luck; it will be tried again")
    return "good luck"


@task
async def preview(ctx: Context, text: str = "It works.") -> None:
    """Serves HTTP while it runs: GET /api/v1/tasks/{id}/http/ reaches it, until it is cancelled."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": text.encode()})

    await ctx.serve(app)
