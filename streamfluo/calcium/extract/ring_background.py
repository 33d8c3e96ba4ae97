"""Ring model of what the background modes leave: neuropil and light from out of focus, from what surrounds a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage as ndi

from ...core.state import State, require_array
from ..banded import bin_deviation
from ..kernels.demixing import inner
from ..kernels.residual import rows_of, smooth
from ..kernels.ring_regression import (
    BinnedFootprints,
    bin_components,
    bin_footprints,
    bin_of_pixels,
    known_bins,
    ring_sum,
    subtract_binned_modes,
    update_ring,
)
from .background import Background
from .components import Components

_MEMORY_FRAMES = 1000.0
_BINS_PER_RADIUS = 3
WIDTH = 1.0  # of the ring, in bins
_SMOOTH = np.full(5, 0.2, np.float32)  # slopes are averaged over 5 × 5 bins
_PATTERNS = 8  # of known bins that are remembered: with the shifts of a frame its rim changes
MIN_SEEN = 0.5  # of a bin's pixels: less, and the bin is left out
NOTHING = -1  # in place of the number of changes that the components had when they were binned


class Pattern(NamedTuple):
    """Which bins are known: the modes there, the inverse of their inner products, how many bins are on each ring.

    nearest: flat number of the known bin that each one takes its background from, None where all are known. Arrays of
    the host, or of a card.
    """

    modes: Any
    inverse: Any
    bins: Any
    nearest: Any


class RingBackground:
    """Background b(x) = slope(x) · mean on a ring around x of frame − mean − components − background modes.

    On a binned grid; the ring lies outside a cell centred on x. The modes take what the whole field shares, with no
    noise of their own: a ring alone costs cells at 4 photons a pixel (F1 .82 to .75). Slopes are exponentially weighted
    regressions over 1000 frames, averaged over 5 × 5 bins: under a cell its activity takes what its slope leaves.
    The components are subtracted with their activity in the frame before. One weight per ring replaces one per ring
    pixel (Zhou et al. 2018, CNMF-E; Friedrich et al. 2021): ring pixels are strongly correlated.
    """

    def __init__(self, shape: tuple[int, int], radius_px: float, modes: int) -> None:
        size, self._radius = grid_of(shape, radius_px)
        self.memory = 1 - 1 / _MEMORY_FRAMES  # what is left of the regressions' sums after a frame
        self._binned, self._ring, self._sums, self._seen, self._known = np.zeros((5, *size), np.float32)
        self._work = rows_of(size, _SMOOTH)
        self._of_cells, self._prepared = np.zeros(size, np.float32), NOTHING
        self._runs = _no_runs(0, 0)
        self._bin_of = np.zeros(shape[0] * shape[1], np.int32)
        bin_of_pixels(shape, size, self._bin_of)
        self._whole = np.zeros(size, bool)
        self._noise, self._slope = np.zeros((2, *size), np.float32)
        self._modes = np.zeros((modes, *size), np.float32)
        self._product, self._square = np.zeros((2, *size))
        self._patterns: dict[bytes, Pattern] = {}  # of known bins: a rim of one width and another, in turn
        self._pattern: Pattern | None = None
        self._arrays: dict[str, np.ndarray] = {
            "both": self._product, "square": self._square, "modes": self._modes,
            "noise": self._noise, "slope": self._slope,
        }  # fmt: skip

    def initialise(self, first: np.ndarray, frames: Sequence[np.ndarray], background: Background) -> None:
        """Fit the slopes to the initial frames, stored as differences to `first` (y, x)."""
        zero = np.zeros_like(background.mean)
        self.see(background)
        for mode, binned in zip(background.modes, self._modes, strict=True):
            bin_deviation(mode * background.noise, zero, background.weight, self._whole, binned, self._seen)
        bin_deviation(background.noise, zero, background.weight, self._whole, self._noise, self._seen)
        for part in frames:
            self._measure(part.astype(np.float32) + first, background, None, 1.0)
        self.update_slopes()

    def see(self, background: Background) -> None:
        """Note which bins have no pixel of weight 0, and forget what was computed for patterns of known bins."""
        weight = np.zeros(background.weight.shape, np.float32)
        bin_deviation(weight, weight, background.weight, self._whole, self._sums, self._seen)
        self._whole[...] = self._seen == 1
        self._patterns, self._pattern, self._prepared = {}, None, NOTHING

    def of(self, frame: Any, background: Background, cells: Components) -> Any:
        """Return the background (rows, columns) of a frame (y, x) [ADU], and gather the frame for the slopes."""
        pattern = self._measure(frame, background, cells, self.memory)
        binned = self._slope * self._ring
        return binned if pattern.nearest is None else binned.ravel()[pattern.nearest]

    def prepare(self, cells: Components) -> None:
        """Bin the components at their activity, for the next frame; once more if footprints change before it comes."""
        if self._prepared != cells.changes:
            if self._runs.bin.shape != cells.index.shape:
                self._runs, changed = _no_runs(*cells.index.shape), np.arange(cells.count)
            else:
                changed = np.array([k for k in sorted(cells.changed) if k < cells.count], np.int64)
            cells.changed.clear()
            bin_footprints(self._bin_of, cells.footprints, changed, tuple(self._runs))
            activity = cells["activity"]
            bin_components(len(self._bin_of), self._noise, tuple(self._runs), activity, self._of_cells)
            self._prepared = cells.changes

    def update_slopes(self) -> None:
        """Compute the slopes from all frames so far."""
        product, square = np.empty((2, *self._slope.shape), np.float32)
        for sums, out in ((self._product, product), (self._square, square)):
            smooth(sums.astype(np.float32), _SMOOTH, self._work, out)
        self._slope[...] = 0
        np.divide(product, square, out=self._slope, where=square > 0)
        np.maximum(self._slope, 0, out=self._slope)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {f"ring_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"ring_{name}", array, "extract")

    def _measure(self, frame: np.ndarray, background: Background, cells: Components | None, memory: float) -> Pattern:
        """Bin what mean, components and modes leave of a frame, and average it over each ring."""
        bin_deviation(frame, background.mean, background.weight, self._whole, self._binned, self._seen)
        if cells is not None:
            self.prepare(cells)
            self._binned -= self._of_cells
            self._prepared = NOTHING
        if known_bins(self._seen, MIN_SEEN, self._known) or self._pattern is None:
            self._pattern = self._pattern_of(self._known)
        pattern = self._pattern
        subtract_binned_modes(self._binned, self._known, pattern.modes, pattern.inverse)
        ring_sum(self._binned, self._radius, self._radius + WIDTH, self._sums)
        known, sums = (self._known, pattern.bins), (self._product, self._square)
        update_ring(self._binned, self._sums, known, memory, self._ring, sums)
        return pattern

    def _pattern_of(self, known: np.ndarray) -> Pattern:
        """What depends on which bins are known, remembered for the last few patterns."""
        key = known.astype(bool).tobytes()
        pattern = self._patterns.pop(key, None) or self._new_pattern(known)
        self._patterns[key] = pattern  # the newest last
        if len(self._patterns) > _PATTERNS:
            del self._patterns[next(iter(self._patterns))]
        return pattern

    def _new_pattern(self, known: np.ndarray) -> Pattern:
        modes = self._modes * known
        gram = np.array([[inner(a, b, 0, 1) for a in modes] for b in modes])
        gram[np.diag_indices(len(gram))] += 1e-6 * gram.trace() + 1e-30
        count = np.zeros_like(known)
        ring_sum(known, self._radius, self._radius + WIDTH, count)
        return Pattern(
            modes, np.linalg.inv(gram), count, _nearest_known(known) if known.any() and not known.all() else None
        )


def grid_of(shape: tuple[int, int], radius_px: float) -> tuple[tuple[int, int], float]:
    """Return the grid of bins (rows, columns) of frames of a shape (y, x), and the ring's radius in bins."""
    side = max(1, round(radius_px / _BINS_PER_RADIUS))
    return (max(1, shape[0] // side), max(1, shape[1] // side)), radius_px / side


def _no_runs(components: int, pixels: int) -> BinnedFootprints:
    size = components, pixels
    return BinnedFootprints(np.zeros(size, np.int32), np.zeros(size, np.float32), np.zeros(components, np.int64))


def _nearest_known(known: np.ndarray) -> np.ndarray:
    """For each bin the flat number (rows, columns) of the nearest one that is known."""
    nearest = ndi.distance_transform_edt(known == 0, return_distances=False, return_indices=True)
    numbers: np.ndarray = np.ravel_multi_index(tuple(nearest), known.shape)
    return numbers
