"""What user code imports. Light: the clients, and httpx with them, are loaded when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard import errors
from callboard.context import Context
from callboard.errors import Fail, Retry, Snooze
from callboard.task import task

if TYPE_CHECKING:
    from callboard.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Context", "Fail", "Retry", "Snooze", "__version__", "errors", "task"]


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "Client"):
        from callboard import client

        return getattr(client, name)
    raise AttributeError(f"module 'callboard' has no attribute {name!r}")
