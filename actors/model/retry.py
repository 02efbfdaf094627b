"""How long a task waits before its next try.

Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): it spreads a
herd of retries better than equal or decorrelated jitter for the same mean load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before try ``n + 1``; the store computes it where the outcome is accepted."""

    kind: str = "exponential"  # or "fixed"
    base: float = 1.0
    cap: float = 3600.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("exponential", "fixed"):
            raise ValueError(f"backoff kind must be 'exponential' or 'fixed', got {self.kind!r}")
        if not 0 <= self.base <= 86_400 * 30:
            raise ValueError(f"backoff base must be from 0 to 2592000 seconds, got {self.base!r}")
        if not self.base <= self.cap <= 86_400 * 30:
            raise ValueError(f"backoff cap must be from base to 2592000 seconds, got {self.cap!r}")

    def ceiling(self, tries: int) -> float:
        """The longest wait after ``tries`` used tries (1 = the first failed)."""
        if self.kind == "fixed":
            return min(self.cap, self.base)
        return float(min(self.cap, self.base * 2.0 ** min(tries - 1, 62)))

    def as_json(self) -> dict[str, Any]:
        """The stored form: ``{"kind", "base", "cap", "jitter"}``."""
        return {"kind": self.kind, "base": self.base, "cap": self.cap, "jitter": self.jitter}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | float) -> Backoff:
        """From a number (fixed seconds) or an object; raises ValueError naming what is wrong."""
        if isinstance(value, bool):
            raise ValueError("backoff must be a number of seconds or an object")
        if isinstance(value, int | float):
            return cls("fixed", float(value), max(float(value), 0.0), jitter=False)
        unknown = set(value) - {"kind", "base", "cap", "jitter"}
        if unknown:
            raise ValueError(f"backoff has no field {sorted(unknown)[0]!r}; it has kind, base, cap, jitter")
        return cls(
            kind=str(value.get("kind", "exponential")),
            base=float(value.get("base", 1.0)),
            cap=float(value.get("cap", 3600.0)),
            jitter=bool(value.get("jitter", True)),
        )
