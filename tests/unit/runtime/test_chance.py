"""Chance: the operating system's, unless somebody put a seeded source in place."""

from __future__ import annotations

import contextvars
import random

from actors.runtime import chance


class Seeded(chance.Chance):
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def key(self) -> bytes:
        return self._random.randbytes(16)

    def secret(self, size: int) -> bytes:
        return self._random.randbytes(size)


def drawn() -> tuple[float, bytes, bytes]:
    return chance.uniform(1, 2), chance.key(), chance.secret(32)


def seeded(seed: int) -> tuple[float, bytes, bytes]:
    def draw() -> tuple[float, bytes, bytes]:
        chance.source.set(Seeded(seed))
        return drawn()

    return contextvars.Context().run(draw)


def test_what_is_drawn_differs_and_has_its_size() -> None:
    (number, key, secret), other = drawn(), drawn()
    assert 1 <= number <= 2
    assert (len(key), len(secret)) == (16, 32)
    assert key != other[1]
    assert secret != other[2]


def test_a_seeded_source_draws_the_same_again_and_only_in_its_own_context() -> None:
    assert seeded(7) == seeded(7) != seeded(8)
    assert type(chance.source.get()) is chance.Chance
