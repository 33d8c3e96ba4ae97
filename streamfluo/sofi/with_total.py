"""Product sums of pixels with each other, and of each pixel with the total signal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np

from ..core.spec import Spec
from ..core.state import State, require_array
from .kernels.products import add_with_total
from .product_sums import Factor, Product, ProductSums, ahead, moved_to_origin
from .psf import Pair

PIXEL = [(0, 0, 0)]


class ProductsWithTotal(ProductSums):
    """`ProductSums` of one frame's pixels, and Σ d · τ of each, with τ = Σ d over the pixels seen in that frame.

    One more map: a thirtieth of the memory and time of the products of cross = 1.
    """

    def __init__(self, spec: Spec, tuples: Sequence[Sequence[Factor]]) -> None:
        super().__init__(spec, tuples)
        self._with_total = np.zeros(self.pixels)  # replaced, never changed: copies share it

    def empty(self) -> Self:
        new = super().empty()
        new._with_total = np.zeros(self.pixels)
        return new

    def reader(self) -> Callable[[Sequence[Factor]], np.ndarray]:
        """Return a function of factors to their joint cumulant (p,); maps are made once for all calls."""
        maps = self.all_maps()
        return lambda factors: self.cumulant(factors, maps)

    def pairs(self) -> Iterator[Pair]:
        """Yield the covariances of every pair of pixels."""
        maps, n = self.all_maps(), self.n or np.nan
        mean = maps[self._at[tuple(PIXEL)]] / n
        for q, product in enumerate(self.products):
            if len(product) == 2:
                _, y, x = product[1]
                other = ahead(mean, y * self.spec.shape[1] + x)
                yield Pair(y, x, (maps[q] / n - mean * other).reshape(self.spec.shape))

    def add(self, frames: np.ndarray) -> None:
        """Add the products of frames (n, y, x)."""
        super().add(frames)
        self._with_total = self._with_total.copy()
        add_with_total(frames.reshape(len(frames), self.pixels), self.pivot, self._with_total)

    def move_pivot(self, pivot: np.ndarray) -> None:
        if self.n:
            self._with_total = self._with_total_about(pivot)
        super().move_pivot(pivot)

    def absorb(self, other: ProductSums) -> None:
        assert isinstance(other, ProductsWithTotal)
        if other.n:
            self._with_total = self._with_total + other._with_total_about(self.pivot)
        super().absorb(other)

    def take_total(self, other: ProductsWithTotal) -> None:
        """Take over the sums with the total."""
        self._with_total = other._with_total

    def covariance_with_total(self) -> np.ndarray:
        """Return ⟨δI_p δT⟩ of each pixel and the total signal (y, x), NaN where a pixel was not seen."""
        n = self.n or np.nan
        mean = self.all_maps()[self._at[tuple(PIXEL)]] / n
        return np.asarray(self._with_total / n - mean * np.nansum(mean)).reshape(self.spec.shape)

    def _with_total_about(self, pivot: np.ndarray) -> np.ndarray:
        shift = self.pivot - pivot
        if not shift.any():
            return self._with_total
        sums, step = self.all_maps()[self._at[tuple(PIXEL)]], np.nansum(shift)
        return np.asarray(self._with_total + shift * np.nansum(sums) + step * (sums + self.n * shift))

    def state(self, name: str) -> State:
        return {**super().state(name), f"{name}_with_total": self._with_total.copy()}

    def restore(self, state: State, name: str) -> None:
        """Restore the entries of `state`; of an older one without the totals the PSF stays unknown."""
        super().restore(state, name)
        entry, unknown = f"{name}_with_total", np.full(self.pixels, np.nan)
        self._with_total = require_array({entry: unknown, **state}, entry, unknown, "sofi")


class AveragedProducts:
    """Joint cumulants that are averages over bleaching segments, read like those of `ProductsWithTotal`."""

    def __init__(self, spec: Spec, kept: Sequence[Product], averages: np.ndarray) -> None:
        self.spec, self._kept, self._with_total = spec, kept, averages[-1]
        self._maps = dict(zip(kept, averages, strict=False))

    def reader(self) -> Callable[[Sequence[Factor]], np.ndarray]:
        """Return a function of factors to their joint cumulant (p,), invalid where a factor lies outside."""

        def cumulant(factors: Sequence[Factor]) -> np.ndarray:
            product, (y, x) = moved_to_origin(factors)
            return ahead(self._maps[product], y * self.spec.shape[1] + x)

        return cumulant

    def pairs(self) -> Iterator[Pair]:
        """Yield the covariances of every pair of pixels."""
        for product in self._kept:
            if len(product) == 2:
                yield Pair(*product[1][1:], self._maps[product].reshape(self.spec.shape))

    def covariance_with_total(self) -> np.ndarray:
        """Return ⟨δI_p δT⟩ of each pixel and the total signal (y, x), NaN where a pixel was not seen."""
        return np.asarray(self._with_total).reshape(self.spec.shape)
