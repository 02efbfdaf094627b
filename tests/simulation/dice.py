"""Everything that is left to chance in a run follows from its one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from actors.runtime.chance import Chance

T = TypeVar("T")


class Dice(Chance):
    """One stream of chance; streams of different names do not disturb each other."""

    def __init__(self, seed: int, name: str = "") -> None:
        self.seed = seed
        self._random = random.Random(f"{seed}/{name}")

    def stream(self, name: str) -> Dice:
        return Dice(self.seed, name)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def key(self) -> bytes:
        return self._random.randbytes(16)

    def secret(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def some(self, choices: Sequence[T], count: int) -> list[T]:
        return self._random.sample(choices, count)

    def weighted(self, choices: Sequence[tuple[float, T]]) -> T:
        weights = [weight for weight, _ in choices]
        return self._random.choices([one for _, one in choices], weights)[0]

    def number(self, low: int, high: int) -> int:
        """Both included."""
        return self._random.randint(low, high)
