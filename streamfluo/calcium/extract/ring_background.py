"""Ring model of what the background modes leave: neuropil and light from out of focus, from what surrounds a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage as ndi

from ...core.state import State, require_array
from ..kernels.demixing import inner
from ..kernels.ring_regression import bin_deviation, bin_of_pixels, ring_sum, subtract_binned, subtract_components
from .background import Background
from .components import Components

_MEMORY_FRAMES = 1000.0
_BINS_PER_RADIUS = 3
_WIDTH = 1.0  # of the ring, in bins
_SMOOTH = 5  # bins over which slopes are averaged
_MIN_SEEN = 0.5  # of a bin's pixels: less, and the bin is left out


class RingBackground:
    """Background b(x) = slope(x) · mean on a ring around x of frame − mean − components − background modes.

    On a binned grid; the ring lies outside a cell centred on x. The modes take what the whole field shares, with no
    noise of their own: a ring alone costs cells at 4 photons a pixel (F1 .82 to .75). Slopes are exponentially weighted
    regressions over 1000 frames, averaged over 5 × 5 bins: under a cell its activity takes what its slope leaves.
    The components are subtracted with their activity in the frame before. One weight per ring replaces one per ring
    pixel (Zhou et al. 2018, CNMF-E; Friedrich et al. 2021): ring pixels are strongly correlated.
    """

    def __init__(self, shape: tuple[int, int], radius_px: float, modes: int) -> None:
        self._bin = max(1, round(radius_px / _BINS_PER_RADIUS))
        size = tuple(max(1, n // self._bin) for n in shape)
        self._radius = radius_px / self._bin
        self._binned, self._ring, self._known, self._share, self._count = np.zeros((5, *size), np.float32)
        self._bin_of = np.zeros(shape[0] * shape[1], np.int32)
        bin_of_pixels(shape, size, self._bin_of)
        self._noise, self._slope = np.zeros((2, *size), np.float32)
        self._modes = np.zeros((modes, *size), np.float32)
        self._product, self._square = np.zeros((2, *size))
        self._nearest: tuple[np.ndarray, ...] | None = None  # known bin of each, where some are unknown
        self._out = np.zeros(shape, np.float32)
        self._arrays: dict[str, np.ndarray] = {
            "both": self._product, "square": self._square, "modes": self._modes,
            "noise": self._noise, "slope": self._slope,
        }  # fmt: skip

    def initialise(self, first: np.ndarray, frames: Sequence[np.ndarray], background: Background) -> None:
        """Fit the slopes to the initial frames, stored as differences to `first` (y, x)."""
        zero = np.zeros_like(background.mean)
        for mode, binned in zip(background.modes, self._modes, strict=True):
            bin_deviation(mode * background.noise, zero, background.weight, binned, self._known)
        bin_deviation(background.noise, zero, background.weight, self._noise, self._known)
        for part in frames:
            self._measure(part.astype(np.float32) + first, background, None)
            self._update_sums(1.0)
        self.update_slopes()

    def subtract(self, frame: np.ndarray, background: Background, cells: Components) -> np.ndarray:
        """Return a frame (y, x) without background, float32, valid until the next call; gather it for the slopes."""
        self._measure(frame, background, cells)
        self._update_sums(1 - 1 / _MEMORY_FRAMES)
        binned = self._slope * self._ring
        subtract_binned(frame, binned if self._nearest is None else binned[self._nearest], self._out)
        return self._out

    def update_slopes(self) -> None:
        """Compute the slopes from all frames so far."""
        product, square = (ndi.uniform_filter(sums, _SMOOTH, mode="constant") for sums in (self._product, self._square))
        slope = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
        self._slope[...] = np.maximum(slope, 0)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {f"ring_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"ring_{name}", array, "extract")

    def _measure(self, frame: np.ndarray, background: Background, cells: Components | None) -> None:
        """Bin what mean, components and modes leave of a frame, and average it over each ring."""
        bin_deviation(frame, background.mean, background.weight, self._binned, self._known)
        if cells is not None:
            subtract_components(self._binned, self._bin_of, self._noise, cells.footprints, cells["activity"])
        known = (self._known >= _MIN_SEEN).astype(np.float32)
        self._binned *= known
        self._subtract_modes(known)
        if not np.array_equal(known, self._share) or not self._count.any():
            self._share[...] = known
            self._nearest = _nearest_known(known) if (known == 0).any() else None
            ring_sum(known, self._radius, self._radius + _WIDTH, self._count)
        ring_sum(self._binned, self._radius, self._radius + _WIDTH, self._ring)
        self._ring /= np.maximum(self._count, 1)

    def _subtract_modes(self, known: np.ndarray) -> None:
        """Subtract the least squares fit of the background modes from the binned frame."""
        seen = [mode * known for mode in self._modes]
        gram = np.array([[inner(a, b, 0, 1) for a in seen] for b in seen])
        products = np.array([inner(a, self._binned, 0, 1) for a in seen])
        gram[np.diag_indices(len(gram))] += 1e-6 * gram.trace() + 1e-30
        for amount, mode in zip(np.linalg.solve(gram, products), seen, strict=True):
            self._binned -= np.float32(amount) * mode

    def _update_sums(self, memory: float) -> None:
        self._product *= memory
        self._square *= memory
        self._product += self._binned * self._ring
        self._square += self._share * self._ring.astype(float) ** 2


def _nearest_known(known: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each bin the indices (rows, columns), (rows, columns) of the nearest one that is known."""
    return tuple(ndi.distance_transform_edt(known == 0, return_distances=False, return_indices=True))
