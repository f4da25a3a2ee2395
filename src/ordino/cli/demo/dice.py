"""Chance by seed: a draw is a function of the seed and of what it is drawn for, whatever was drawn before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Draws by name."""

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()

    def chance(self, *names: object) -> float:
        """From 0 up to, not including, 1."""
        words = "\x1f".join(map(str, names)).encode()
        return int.from_bytes(blake2b(words, digest_size=7, key=self._key).digest(), "big") / 2**56

    def between(self, low: int, high: int, *names: object) -> int:
        """A whole number, both ends included."""
        return low + int(self.chance(*names) * (high - low + 1))

    def one_of(self, choices: Sequence[T], *names: object) -> T:
        return choices[int(self.chance(*names) * len(choices))]

    def exponential(self, mean: float, *names: object) -> float:
        """Waiting times without memory."""
        return -mean * math.log(1 - self.chance(*names))
