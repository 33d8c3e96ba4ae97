"""Ring model of the background of one-photon recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.state import State, require_array
from ..kernels.ring_regression import bin_deviation, ring_mean, subtract_binned, subtract_components
from .components import Components

_MEMORY_FRAMES = 1000.0
_BINS_PER_RADIUS = 4


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
        self._binned, self._ring, self._background = np.zeros((3, *size), np.float32)
        self._seen = np.ones(size, np.float32)
        self._product, self._square = np.zeros((2, *size))
        self._out = np.zeros(shape, np.float32)
        self._arrays: dict[str, np.ndarray] = {
            "mean": self._mean, "both": self._product, "square": self._square, "seen": self._seen,
        }  # fmt: skip

    def initialise(self, first: np.ndarray, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Fit mean and slopes to the initial frames, stored as differences to `first` (y, x).

        Returns the differences without background, float16.
        """
        known = sum(np.isfinite(part).astype(np.float32) for part in frames)
        total = sum(np.nan_to_num(part.astype(np.float32)) for part in frames)
        self._mean[...] = first + total / np.maximum(known, 1)
        bin_deviation((known > 0).astype(np.float32), np.zeros_like(self._mean), self._seen)
        self._seen[...] = self._seen > 0
        images = [part.astype(np.float32) + first for part in frames]
        for image in images:
            self._measure(image)
            self._update_slopes(1.0)
        return [(self._subtract(image) - first).astype(np.float16) for image in images]

    def subtract(self, frame: np.ndarray, cells: Components, noise: np.ndarray) -> np.ndarray:
        """Update the slopes with a frame (y, x); return it without background, float32, valid until the next call."""
        bin_deviation(frame, self._mean, self._binned)
        subtract_components(self._binned, frame.shape, cells.footprints, noise.reshape(-1), cells["activity"])
        ring_mean(self._binned, self._seen, self._radius, self._radius + 1.0, self._ring)
        self._update_slopes(1 - 1 / _MEMORY_FRAMES)
        return self._subtract_background(frame)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {f"ring_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            known = {"ring_seen": np.ones_like(self._seen), **state}  # earlier sessions have none
            array[...] = require_array(known, f"ring_{name}", array, "extract")

    def _measure(self, frame: np.ndarray) -> None:
        bin_deviation(frame, self._mean, self._binned)
        ring_mean(self._binned, self._seen, self._radius, self._radius + 1.0, self._ring)

    def _subtract(self, frame: np.ndarray) -> np.ndarray:
        self._measure(frame)
        return self._subtract_background(frame)

    def _update_slopes(self, memory: float) -> None:
        self._product *= memory
        self._square *= memory
        self._product += self._binned * self._ring
        self._square += self._ring.astype(float) ** 2

    def _subtract_background(self, frame: np.ndarray) -> np.ndarray:
        slope = np.divide(self._product, self._square, out=np.zeros_like(self._product), where=self._square > 0)
        self._background[...] = slope * self._ring
        subtract_binned(frame, self._background, self._out)
        return self._out
