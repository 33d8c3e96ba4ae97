"""Product sums of pixels with each other, and of each pixel with the total signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.spec import Spec
from ..core.state import State, require_array
from .kernels.products import add_with_total
from .product_sums import Factor, ProductSums

PIXEL = [(0, 0, 0)]


class ProductsWithTotal(ProductSums):
    """`ProductSums` of one frame's pixels, and Σ d · τ of each, with τ = Σ d over the pixels seen in that frame.

    One more map: a thirtieth of the memory and time of the products of cross = 1.
    """

    def __init__(self, spec: Spec, tuples: Sequence[Sequence[Factor]]) -> None:
        super().__init__(spec, tuples)
        self._with_total = np.zeros(self.pixels)  # replaced, never changed: copies share it

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
