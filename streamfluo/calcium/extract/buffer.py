"""The frames and residual bins that are kept: what new components get their past from."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array, require_int
from .components import BINS

SCALE = np.float32(16.0)  # whitened frames are kept as int16 in steps of 1/16 of their noise


class Buffer:
    """The last `window` whitened frames (int16) with their index and background activity, and residuals of 40 bins."""

    def __init__(self, shape: tuple[int, int], modes: int, window: int, bin_frames: int) -> None:
        self.window, self.bin_frames, self.count = window, bin_frames, 0
        self.frames = np.zeros((window, *shape), np.int16)
        self.index = np.zeros(window, np.int64)
        self.modes = np.zeros((window, modes))
        self.bins = np.zeros((BINS, *shape), np.int16)
        self._arrays: dict[str, np.ndarray] = {
            "frames": self.frames,
            "index": self.index,
            "modes": self.modes,
            "bins": self.bins,
        }

    @property
    def slot(self) -> int:
        """Where the next frame goes."""
        return self.count % self.window

    @property
    def full(self) -> bool:
        """Whether the next frame pushes one out."""
        return self.count >= self.window

    def slots(self) -> np.ndarray:
        """Where the frames kept lie, the oldest first."""
        return np.arange(max(0, self.count - self.window), self.count) % self.window

    def bin_order(self) -> np.ndarray:
        """Where the residual bins kept lie, the oldest first."""
        whole = self.count // self.bin_frames
        return np.arange(max(0, whole - BINS), whole) % BINS

    def state(self) -> State:
        """Everything it carries, as state entries."""
        arrays = {f"buffer_{name}": array.copy() for name, array in self._arrays.items()}
        return {**arrays, "buffer_count": self.count}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"buffer_{name}", array, "extract")
        self.count = require_int(state, "buffer_count", "extract")
        if self.count < 0:
            raise StateError(f"extract: state 'buffer_count' must be a count, found {self.count}")
