"""A straight line of variance over mean, and means over neighbours, which share their light but not their gains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .kernels.bins import Array

NEIGHBOURS = 32  # adjacent pixels, under nearly the same light


@dataclass
class Line:
    """floor + slope · x, with the covariance of (floor, slope, dark level)."""

    floor: float
    slope: float
    covariance: Array

    def at(self, x: Array) -> Array:
        return self.floor + self.slope * x


class Blocks(NamedTuple):
    """Means over `size` adjacent pixels (b,): of x, of y, and of x²."""

    x: Array
    y: Array
    x2: Array
    size: int


def blocks_of(x: Array, y: Array, used: np.ndarray, size: int = NEIGHBOURS) -> Blocks:
    """Return the means over adjacent pixels of x and y (p,), of blocks of which more than half are used (p,)."""
    length = x.size // size * size
    kept = used[:length].reshape(-1, size)
    there = kept.sum(1)
    enough = 2 * there > size

    def mean(values: Array) -> Array:
        return np.asarray(np.sum(values[:length].reshape(kept.shape), 1, where=kept)[enough] / there[enough])

    return Blocks(mean(x), mean(y), mean(x * x), size)
