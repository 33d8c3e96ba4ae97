"""Sums of products over pixels and frames, and joint cumulants.

A product is a set of factors d(t + lag, p + shift) with d = x − pivot; each product is a shorter one, its parent, times
one more factor. The joint cumulant of k factors is Σ over their partitions π without singletons of
(−1)^(|π|−1) (|π|−1)! Π_{B ∈ π} ⟨Π_{i ∈ B} δ_i⟩, each δ_i about the mean of its own factor
(Leonov & Shiryaev 1959, Theory Probab. Appl. 4:319).
"""

from collections.abc import Iterator, Mapping
from math import factorial
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.power_sums import add_exactly, row_total

PRODUCT_TILE_PX = 1024


class Products(NamedTuple):
    """Product q is product parent[q] (−1: 1), an earlier one, times d(t + lag[q], p + shift[q]); each (products,).

    shift ≥ 0 in the flattened frame, beyond which d is 0.
    """

    parent: Any
    lag: Any
    shift: Any


@kernel
def add_products(frames, count, pivot, products, sums, before, tiles):  # type: ignore[no-untyped-def]
    """Add the products at the first `count` frames to sums (tiles, products, 2, 1024), two floats each.

    frames (≥ count + largest lag, p); pivot (p,); products: Products; before: the initial sums where another reader
    still holds them, (0, …) to continue `sums`; tiles (first, stop): which.
    """
    parent, lag, shift = products
    many, pixels = len(parent), frames.shape[1]
    depth = count + (lag.max() if count and len(lag) else 0)  # without products no frame is read
    d = np.zeros((depth, PRODUCT_TILE_PX + (shift.max() if len(shift) else 0)))
    product, total = np.empty((many, PRODUCT_TILE_PX)), np.empty((many, PRODUCT_TILE_PX))
    one = np.ones(PRODUCT_TILE_PX)
    for tile in range(tiles[0], tiles[1]):
        first = tile * PRODUCT_TILE_PX
        reach = min(d.shape[1], pixels - first)
        d[:, reach:] = 0
        for f in range(depth):
            _subtract(frames[f, first : first + reach], pivot[first : first + reach], d[f, :reach])
        total[:] = 0
        for t in range(count):
            for q in range(many):
                factor = d[t + lag[q], shift[q] : shift[q] + PRODUCT_TILE_PX]
                _multiply_add(one if parent[q] < 0 else product[parent[q]], factor, product[q], total[q])
        if len(before):
            sums[tile] = before[tile]
        for q in range(many):
            add_exactly(total[q], sums[tile, q, 0], sums[tile, q, 1])


@kernel
def _subtract(row, pivot, d):  # type: ignore[no-untyped-def]
    for i in range(len(d)):
        d[i] = row[i] - pivot[i]


@part
def _multiply_add(a, b, product, total):  # type: ignore[no-untyped-def]
    for i in range(len(product)):
        product[i] = a[i] * b[i]
        total[i] += product[i]


@kernel
def add_with_total(frames, pivot, sums):  # type: ignore[no-untyped-def]
    """Add d · τ of each frame to sums (p,), with d = x − pivot and τ = Σ d over the seen pixels: frames (n, p)."""
    d = np.empty(len(pivot))
    for f in range(frames.shape[0]):
        _subtract(frames[f], pivot, d)
        total = row_total(d)
        for i in range(len(d)):
            sums[i] += d[i] * total


def partitions(members: tuple[int, ...]) -> Iterator[list[tuple[int, ...]]]:
    """Yield the partitions of `members` into sets of two or more."""
    if not members:
        yield []
        return
    first, rest = members[0], members[1:]
    for chosen in range(1, 2 ** len(rest)):
        block = (first, *(m for k, m in enumerate(rest) if chosen >> k & 1))
        left = tuple(m for k, m in enumerate(rest) if not chosen >> k & 1)
        for others in partitions(left):
            yield [block, *others]


def centred(moments: Mapping[int, np.ndarray], order: int) -> dict[int, np.ndarray]:
    """Turn ⟨Π x_i⟩ of every non-empty subset of `order` factors into ⟨Π (x_i − ⟨x_i⟩)⟩.

    The keys are the subsets as bits; single factors become zero. `moments` is not changed.
    """
    result = dict(moments)
    for i in range(order):
        mean = moments[1 << i]
        for subset in range(1, 1 << order):
            if subset >> i & 1:
                rest = subset & ~(1 << i)
                result[subset] = result[subset] - mean * (result[rest] if rest else 1.0)
    return result


def joint_cumulant(central: Mapping[int, np.ndarray], order: int) -> np.ndarray:
    """Return the joint cumulant of `order` ≥ 2 factors from their central moments by subset (bits)."""
    total: np.ndarray = np.zeros_like(central[(1 << order) - 1])
    for blocks in partitions(tuple(range(order))):
        p = len(blocks)
        term: np.ndarray = np.float64((-1) ** (p - 1) * factorial(p - 1))  # type: ignore[assignment]
        for block in blocks:
            term = term * central[sum(1 << i for i in block)]
        total = total + term
    return total
