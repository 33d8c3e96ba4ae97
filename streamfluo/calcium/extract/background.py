"""Background model: mean image, noise of each pixel and low-rank background modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage as ndi

from ...core.state import State, require_array
from ...pixels.kernels.seen import Window, inside, seen_window
from ..kernels.background_modes import temporal_modes
from ..kernels.demixing import ROWS, inner
from ..kernels.initial_frames import add_initial, add_weighed, known_or_zero, whiten_initial

MIN_OBSERVED = 0.8  # fraction of the initial frames in which a pixel must be known
_BLOCK_PX = 8  # blocks whose means give the temporal modes
_SMOOTH_PX = 8.0  # σ of the Gaussian that smooths a mode


class FrameSums:
    """Sums over frames, differences (y, x) to `first` (y, x): of values, squared steps, known pixels, known pairs."""

    def __init__(self, first: np.ndarray) -> None:
        self.first = first
        self.arrays = np.zeros((4, *first.shape), np.float32)
        self._before = np.full(first.size, np.nan, np.float32)

    def add(self, part: np.ndarray) -> None:
        """Add the next frame's difference (y, x)."""
        add_initial(np.asarray(part, np.float32).ravel(), self._before, tuple(self.arrays.reshape(4, -1)))

    def gap(self) -> None:
        """The next frame does not follow the last one."""
        self._before[:] = np.nan


class Background:
    """Mean (y, x), noise σ (y, x), weight = 1 / noise, and whitened background modes (m, y, x).

    (frame − mean) · weight = Σ modes · their activity + components + noise of σ 1. All come from the initial frames;
    modes that were updated later absorbed cells not found yet (F1 fell from .96 to .86). Pixels unknown in a fifth of
    the initial frames have weight 0.
    """

    def __init__(self, shape: tuple[int, int], modes: int) -> None:
        planes = np.zeros((3 + modes, *shape), np.float32)  # one allocation: beyond 4 MB numpy asks for huge pages
        (self.mean, self.noise, self.weight), self.modes = planes[:3], planes[3:]
        self.gram = np.zeros((modes, modes))
        self.edge = np.zeros(shape, bool)  # observed pixels beside what is not: the frame's border, a rim after shifts
        self.observed_px = 0
        self.unsent: set[tuple[int, int]] = set()  # corners of boxes whose mean has changed since a card was told
        self.whitening = (self.mean, self.weight, self.modes)  # the fields of `WhiteningModel`
        self.scene = (*self.whitening, self.edge)  # the fields of `Scene` but the last
        self._arrays: dict[str, np.ndarray] = {
            "mean": self.mean, "noise": self.noise, "weight": self.weight, "modes": self.modes, "gram": self.gram,
        }  # fmt: skip

    def initialise(self, first: np.ndarray, frames: Sequence[np.ndarray]) -> None:
        """Estimate mean, noise and modes from the initial frames, stored as differences (y, x) to `first` (y, x)."""
        sums = FrameSums(first)
        for part in frames:
            sums.add(part)
        self.fit(sums, frames)

    def fit(self, sums: FrameSums, frames: Sequence[np.ndarray]) -> None:
        """Take mean and noise from sums over frames, and the modes from `frames`, differences (y, x) to the first one.

        The noise comes from differences of consecutive frames, so that slow signals do not count.
        """
        first, (total, squares, observed, pairs) = sums.first, sums.arrays
        mean = total / np.maximum(observed, 1)
        self.mean[...] = np.where(observed > 0, first + mean, np.float32(0))
        window = seen_window(np.where(pairs > 0, pairs, np.float32(np.nan)))
        seen = inside(window)
        variance = np.ones(first.shape, np.float32)
        variance[seen] = _local_variance((squares / np.maximum(2 * pairs, 1))[seen], pairs[seen])
        self.noise[...] = np.where(observed >= MIN_OBSERVED * observed.max(), np.sqrt(variance), 0)
        np.divide(1, self.noise, out=self.weight, where=self.noise > 0)
        self._find_edge()
        self._find_modes(frames, mean, window)

    def add_to_mean(self, corner: np.ndarray, image: np.ndarray) -> None:
        """Add what a box (h, w) at a corner shows, in noise σ, to the mean image."""
        (top, left), (height, width) = corner.tolist(), image.shape
        area = np.s_[top : top + height, left : left + width]
        self.mean[area] += image * self.noise[area]
        self.unsent.add((top, left))

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {f"scene_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"scene_{name}", array, "extract")
        self._find_edge()

    def _find_edge(self) -> None:
        observed = self.weight > 0
        self.observed_px = int(np.count_nonzero(observed))
        self.edge[...] = observed & ~ndi.binary_erosion(observed)

    def _update_gram(self) -> None:
        for m, mode in enumerate(self.modes):
            for other in range(m, len(self.modes)):
                self.gram[m, other] = self.gram[other, m] = inner(mode, self.modes[other], 0, ROWS)

    def _find_modes(self, frames: Sequence[np.ndarray], mean: np.ndarray, window: Window) -> None:
        """First mode: the mean image; the others: smoothed maps of the leading temporal modes of block means.

        Of frames and their mean (y, x), as differences, the window is taken that was seen.
        """
        self.modes[0] = self.mean * self.weight
        if len(self.modes) > 1:
            seen, (top, bottom, left, right) = inside(window), window
            parts = [np.empty((bottom - top, right - left), np.float32) for _ in range(len(frames))]
            weight, part = np.ascontiguousarray(self.weight[seen]), np.empty(parts[0].shape, np.float32)
            blocks = []
            for whitened, frame in zip(parts, frames, strict=True):
                whiten_initial(np.asarray(frame, np.float32), mean, self.weight, (top, left), whitened)
                known_or_zero(whitened.ravel(), part.ravel())
                blocks.append(_block_means(part))
            for m, temporal in enumerate(temporal_modes(np.stack(blocks).astype(np.float64), len(self.modes) - 1)):
                spatial, known = np.zeros((2, *weight.shape), np.float32)
                for amount, whitened in zip(temporal, parts, strict=True):
                    amounts = np.float32(amount), np.float32(amount**2)
                    add_weighed(whitened.ravel(), weight.ravel(), amounts, spatial.ravel(), known.ravel())
                known = ndi.gaussian_filter(known, _SMOOTH_PX)
                smooth = ndi.gaussian_filter(spatial, _SMOOTH_PX)
                self.modes[m + 1][seen] = smooth / np.maximum(known, np.float32(0.01))
        self.modes *= self.weight > 0
        for mode in self.modes:
            norm = np.sqrt(inner(mode, mode, 0, 1))
            mode /= np.float32(norm if norm > 0 else 1)
        self._update_gram()


def _block_means(image: np.ndarray) -> np.ndarray:
    height, width = (n // _BLOCK_PX for n in image.shape)
    if not (height and width):
        return image.ravel()
    part = image[: height * _BLOCK_PX, : width * _BLOCK_PX]
    rows = part.reshape(height, _BLOCK_PX, -1).sum(1)  # along both axes at once numpy takes ten times as long
    means: np.ndarray = rows.reshape(height, width, _BLOCK_PX).mean(2).ravel()
    return means


def _local_variance(variance: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Noise variance (y, x), smoothed over the observed pixels, and at least a hundredth of its median."""
    known = pairs >= 0.5 * pairs.max()
    fraction = ndi.uniform_filter(known.astype(np.float32), 5)
    smooth = ndi.uniform_filter(np.where(known, variance, np.float32(0)), 5) / np.maximum(fraction, np.float32(1e-3))
    middle = float(np.median(smooth[known])) if known.any() else 1.0
    smooth = np.where(fraction > 0.01, smooth, np.float32(middle))
    return np.maximum(smooth, np.float32(max(0.01 * middle, 1e-12)))
