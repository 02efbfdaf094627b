"""The one source of chance for actors: jitter, keys of claims, secrets of sessions.

A simulation puts a seeded source in place for its own tasks, so that a run can be repeated exactly.
"""

from __future__ import annotations

import random
import secrets
import uuid
from contextvars import ContextVar


class Chance:
    """The operating system's."""

    def uniform(self, low: float, high: float) -> float:
        """A number between the two; for jitter, never for secrets."""
        return random.uniform(low, high)

    def key(self) -> bytes:
        """16 bytes that nobody draws twice."""
        return uuid.uuid4().bytes

    def secret(self, size: int) -> bytes:
        """So many bytes that nobody can guess."""
        return secrets.token_bytes(size)


source: ContextVar[Chance] = ContextVar("chance", default=Chance())  # noqa: B039 (it has no state)


def uniform(low: float, high: float) -> float:
    return source.get().uniform(low, high)


def key() -> bytes:
    return source.get().key()


def secret(size: int) -> bytes:
    return source.get().secret(size)
