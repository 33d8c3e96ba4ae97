"""Ring model of the background: neuropil and light from out of focus, pixel by pixel from what surrounds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage as ndi

from ...core.state import State, require_array
from ..kernels.ring_regression import bin_deviation, ring_sum, subtract_binned, subtract_components
from .components import Components

_LEVEL_RATE = 0.0
_SMOOTH = 0
_MEMORY_FRAMES = 1000.0
_BINS_PER_RADIUS = 3
_WIDTH = 1.0  # of the ring, in bins
_MIN_SEEN = 0.5  # of a bin's pixels: less, and the bin is left out


class RingBackground:
    """Background b(x) = slope(x) · mean of (frame − mean − components) on a ring around x, on a binned grid.

    The ring lies outside a cell centred on x. Slopes are exponentially weighted regressions over 1000 frames; the
    components are subtracted with their activity in the frame before. One weight per ring replaces one per ring pixel
    (Zhou et al. 2018, CNMF-E; Friedrich et al. 2021): ring pixels are strongly correlated.
    """

    def __init__(self, shape: tuple[int, int], radius_px: float) -> None:
        self._bin = max(1, round(radius_px / _BINS_PER_RADIUS))
        size = tuple(max(1, n // self._bin) for n in shape)
        self._radius = radius_px / self._bin
        self._mean = np.zeros(shape, np.float32)
        self._binned, self._ring, self._background, self._known, self._share = np.zeros((5, *size), np.float32)
        self._count = np.zeros(size, np.float32)
        self._level, self._ring_level = np.zeros((2, *size), np.float32)
        self._product, self._square = np.zeros((2, *size))
        self._out = np.zeros(shape, np.float32)
        self._arrays: dict[str, np.ndarray] = {
            "mean": self._mean, "both": self._product,
            "square": self._square,
            "level": self._level, "ring_level": self._ring_level,
        }  # fmt: skip

    def initialise(self, first: np.ndarray, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Fit mean and slopes to the initial frames, stored as differences to `first` (y, x).

        Returns the differences without background, float16.
        """
        known = sum(np.isfinite(part).astype(np.float32) for part in frames)
        total = sum(np.nan_to_num(part.astype(np.float32)) for part in frames)
        self._mean[...] = np.where(known > 0, first + total / np.maximum(known, 1), np.float32(np.nan))
        for part in frames:
            self._measure(part.astype(np.float32) + first, None, None)
            self._update_slopes(1.0)
        return [(self._subtract(part.astype(np.float32) + first) - first).astype(np.float16) for part in frames]

    def subtract(self, frame: np.ndarray, cells: Components, noise: np.ndarray) -> np.ndarray:
        """Update the slopes with a frame (y, x); return it without background, float32, valid until the next call."""
        self._measure(frame, cells, noise)
        self._update_slopes(1 - 1 / _MEMORY_FRAMES)
        return self._subtract_background(frame)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {f"ring_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"ring_{name}", array, "extract")

    def _measure(self, frame: np.ndarray, cells: Components | None, noise: np.ndarray | None) -> None:
        """Bin the frame's deviation from the mean, without the components, and average it over each ring."""
        bin_deviation(frame, self._mean, self._binned, self._known)
        if cells is not None and noise is not None:
            subtract_components(self._binned, frame.shape, cells.footprints, noise.reshape(-1), cells["activity"])
        known = (self._known >= _MIN_SEEN).astype(np.float32)
        self._binned *= known
        if not np.array_equal(known, self._share) or not self._count.any():
            self._share[...] = known
            ring_sum(known, self._radius, self._radius + _WIDTH, self._count)
        ring_sum(self._binned, self._radius, self._radius + _WIDTH, self._ring)
        self._ring /= np.maximum(self._count, 1)

    def _subtract(self, frame: np.ndarray) -> np.ndarray:
        self._measure(frame, None, None)
        return self._subtract_background(frame)

    def _update_slopes(self, memory: float) -> None:
        rate = np.float32(_LEVEL_RATE) if memory < 1 else np.float32(0)
        self._level += rate * self._share * (self._binned - self._level)
        self._ring_level += rate * (self._ring - self._ring_level)
        self._product *= memory
        self._square *= memory
        moved = self._ring - self._ring_level
        self._product += self._share * (self._binned - self._level) * moved
        self._square += self._share * moved.astype(float) ** 2

    def _subtract_background(self, frame: np.ndarray) -> np.ndarray:
        product, square = self._product, self._square
        if _SMOOTH:
            product, square = (ndi.uniform_filter(x, _SMOOTH, mode="nearest") for x in (product, square))
        slope = np.divide(product, square, out=np.zeros_like(self._product), where=square > 0)
        self._background[...] = self._level + slope * (self._ring - self._ring_level)
        subtract_binned(frame, self._background, self._out)
        return self._out
