"""Buffers of recent frames and residual bins, from which new components get their history."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array, require_int
from .components import BINS, Packed

SCALE = np.float32(16.0)  # whitened frames are stored as int16 in steps of 1/16 of their noise σ


class Buffer:
    """Ring buffers: the last `window` whitened frames (int16), their index and mode activity; residuals of 40 bins."""

    def __init__(self, shape: tuple[int, int], modes: int, window: int, bin_frames: int) -> None:
        self.window, self.bin_frames, self.count, self.settled = window, bin_frames, 0, 0
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
        """Slot of the next frame."""
        return self.count % self.window

    @property
    def full(self) -> bool:
        """Whether the next frame overwrites one."""
        return self.count >= self.window

    def slots(self) -> np.ndarray:
        """Slots (n,) of the stored frames, the oldest first."""
        return np.arange(max(0, self.count - self.window), self.count) % self.window

    def settle(self, stop: int) -> np.ndarray:
        """Return the slots (n,) of the oldest frames that are not settled, up to number `stop` of all: now they are."""
        first, self.settled = self.settled, stop
        return np.arange(first, stop) % self.window

    def unsettled(self) -> np.ndarray:
        """Slots (n,) of the stored frames whose final values are not given yet, the oldest first."""
        return np.arange(max(self.settled, self.count - self.window), self.count) % self.window

    def bin_order(self) -> np.ndarray:
        """Slots (n,) of the stored residual bins, the oldest first."""
        complete = self.count // self.bin_frames
        return np.arange(max(0, complete - BINS), complete) % BINS

    def past(self, history: np.ndarray) -> Packed:
        """Return the fields of `Past`. history (K, window)."""
        return self.frames.reshape(len(self.frames), -1), self.slots(), 1 / float(SCALE), self.modes, history

    def state(self) -> State:
        """Return all carried values as state entries."""
        arrays = {f"buffer_{name}": array.copy() for name, array in self._arrays.items()}
        return {**arrays, "buffer_count": self.count, "buffer_settled": self.settled}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"buffer_{name}", array, "extract")
        self.count, self.settled = (require_int(state, f"buffer_{name}", "extract") for name in ("count", "settled"))
        if not 0 <= self.settled <= self.count:
            raise StateError(
                f"extract: state 'buffer_settled' must be 0 to 'buffer_count', found {self.settled} of {self.count}"
            )
