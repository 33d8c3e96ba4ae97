"""The background of one-photon recordings: each place follows the light on a ring around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.state import State, require_array
from ..kernels.ring_regression import bin_deviation, ring_mean, subtract_binned, take_cells
from .components import Components

_MEMORY_FRAMES = 1000.0
_BINS_A_RADIUS = 4


class Ring:
    """Background b(x) = slope(x) · mean of (frame − mean − cells) on a ring round x, on a binned grid.

    The ring lies outside of a cell that is centred on x. Slopes are regressions over the last 1000 frames, the cells'
    light taken out with the activity of the frame before. One weight a place instead of one for each place of the ring
    (Zhou et al. 2018, CNMF-E; Friedrich et al. 2021): neighbours on a ring say nearly the same.
    """

    def __init__(self, shape: tuple[int, int], radius_px: float) -> None:
        self._bin = max(1, round(radius_px / _BINS_A_RADIUS))
        size = tuple(max(1, n // self._bin) for n in shape)
        self._radius = radius_px / self._bin
        self._mean = np.zeros(shape, np.float32)
        self._binned, self._ring, self._background = np.zeros((3, *size), np.float32)
        self._both, self._square = np.zeros((2, *size))
        self._out = np.zeros(shape, np.float32)
        self._arrays: dict[str, np.ndarray] = {"mean": self._mean, "both": self._both, "square": self._square}

    def begin(self, first: np.ndarray, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Learn from the first frames, given as differences to `first` (y, x); return them without background."""
        known = sum(np.isfinite(part).astype(np.float32) for part in frames)
        total = sum(np.nan_to_num(part.astype(np.float32)) for part in frames)
        self._mean[...] = first + total / np.maximum(known, 1)
        whole = [part.astype(np.float32) + first for part in frames]
        for frame in whole:
            self._look(frame)
            self._learn(1.0)
        return [(self._without(frame) - first).astype(np.float16) for frame in whole]

    def subtract(self, frame: np.ndarray, cells: Components, noise: np.ndarray) -> np.ndarray:
        """Return a frame (y, x) without its background, float32; valid until the next one. Learns from it."""
        bin_deviation(frame, self._mean, self._binned)
        take_cells(
            self._binned, frame.shape, cells.index, cells.value, cells.pixels, noise.reshape(-1), cells["activity"]
        )
        ring_mean(self._binned, self._radius, self._radius + 1.0, self._ring)
        self._learn(1 - 1 / _MEMORY_FRAMES)
        return self._read_out(frame)

    def state(self) -> State:
        """Everything it carries, as state entries."""
        return {f"ring_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"ring_{name}", array, "extract")

    def _look(self, frame: np.ndarray) -> None:
        bin_deviation(frame, self._mean, self._binned)
        ring_mean(self._binned, self._radius, self._radius + 1.0, self._ring)

    def _without(self, frame: np.ndarray) -> np.ndarray:
        self._look(frame)
        return self._read_out(frame)

    def _learn(self, memory: float) -> None:
        self._both *= memory
        self._square *= memory
        self._both += self._binned * self._ring
        self._square += self._ring.astype(float) ** 2

    def _read_out(self, frame: np.ndarray) -> np.ndarray:
        slope = np.divide(self._both, self._square, out=np.zeros_like(self._both), where=self._square > 0)
        self._background[...] = slope * self._ring
        subtract_binned(frame, self._background, self._out)
        return self._out
