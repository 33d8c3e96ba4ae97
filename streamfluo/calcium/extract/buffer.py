"""Buffers of recent frames and residual bins, from which new components get their history."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array, require_int
from ..banded import WhiteRows, whiten
from ..kernels.demixing import project_past, sum_frames
from ..kernels.residual import store_bin, subtract_footprints, subtract_from_bins
from .background import Background
from .components import BINS, Components, Packed

SCALE = np.float32(16.0)  # whitened frames are stored as int16 in steps of 1/16 of their noise σ


class Buffer:
    """Ring buffers: the last `window` whitened frames (int16), their index and mode activity; residuals of 40 bins.

    With what is computed of whole frames, whose home they are.
    """

    def __init__(self, shape: tuple[int, int], modes: int, window: int, bin_frames: int) -> None:
        self.window, self.bin_frames, self.count, self.settled = window, bin_frames, 0, 0
        self.white, self._total = WhiteRows.of(shape, modes), np.zeros(shape, np.float32)
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

    def whitened(self, frame: Any, background: Background, activity: Packed, cells: Components) -> Packed:
        """Store the next frame (y, x), whitened; return its pixels in steps, their scale, and its products (M,) with
        the background modes. activity: as `whiten_rows` takes it."""
        stored = self.frames[self.slot]
        whiten(frame, background.whitening, activity, SCALE, stored, self.white)
        return stored.reshape(-1), 1 / float(SCALE), self.white.products

    def residual_of_bin(
        self, cells: Components, background: Background, mode_sum: np.ndarray, binned: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Store the residual of the bin that ends now, write it summed 2 × 2 to `binned`; return it in noise σ, (y, x)
        float32, with where each component's box lies in it (K, 2). mode_sum (M,): the modes' activity, summed."""
        total = self._total
        sum_frames(self.frames, self.slots()[-self.bin_frames :], float(SCALE), background.modes, mode_sum, total)
        subtract_footprints(total.reshape(-1), cells.footprints, cells["bin_sum"])
        store_bin(total, np.float32(1 / np.sqrt(self.bin_frames)), self.bins[self.bin_order()[-1]], binned)
        return total, cells.origin

    def bins_at(self, corner: tuple[int, int], box: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Return the residual bins (n, y, x) int16 that a box (h, w) at a corner is read from, the order of those that
        are stored, the oldest first, and the corner there."""
        return self.bins, self.bin_order(), corner

    def subtract(self, cells: Components, k: int, activity: np.ndarray) -> None:
        """Subtract component k at its activity in the stored bins (n,) from them."""
        bins = self.bins.reshape(len(self.bins), -1)
        subtract_from_bins(bins, self.bin_order(), k, cells.footprints, activity)

    def past_of(self, cells: Components, background: Background, k: int) -> np.ndarray:
        """Return the activity (n,) of component k in the stored frames, with those of its neighbours as they are."""
        slots, history = self.slots(), np.empty(len(self.slots()))
        frames = self.frames.reshape(len(self.frames), -1)
        past = frames, slots, 1 / float(SCALE), self.modes, cells.history
        project_past(k, cells.design(background), past, history)
        return history

    def stored(self, cells: Components, slots: np.ndarray, products: np.ndarray) -> np.ndarray:
        """Return the frames (n, pixels) that products (slots, K) which are NaN are to be found from."""
        return self.frames.reshape(self.window, -1)

    def newest_bin(self) -> np.ndarray | None:
        """Return the residual of the last bin (y, x) int16, None before there is one."""
        order = self.bin_order()
        return self.bins[order[-1]] if len(order) else None

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
